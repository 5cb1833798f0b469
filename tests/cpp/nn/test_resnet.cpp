#include "catch.h"
#include "nn/models.h"
#include "nn/resnet.h"

using namespace sslmed::nn;

namespace {

// Two ranks in one thread: the other one's rows are given.
class PairComm : public Comm {
 public:
  explicit PairComm(std::vector<at::Tensor> others) : others_(std::move(others)) {}
  int size() const override { return 2; }
  at::Tensor all_gather(const at::Tensor& rows) const override {
    seen.push_back(rows.detach());
    return at::cat({rows, others_.at(seen.size() - 1)});
  }
  mutable std::vector<at::Tensor> seen;

 private:
  std::vector<at::Tensor> others_;
};

std::shared_ptr<DenseEncoder> small_resnet(std::int64_t rank) {
  ModelConfig config;
  config.name = "resnet10", config.rank = rank, config.in_chans = 1, config.seed = 2;
  return create_dense(config);
}

}  // namespace

TEST_CASE("batch normalization alone is that of gathered moments") {
  for (const auto& shape : {std::vector<std::int64_t>{5, 3}, {4, 3, 7}, {4, 3, 5, 6}, {2, 3, 4, 5, 6}}) {
    BatchNorm alone(3), gathered(3);
    alone.to(at::kDouble), gathered.to(at::kDouble);
    auto x = at::randn(shape, at::kDouble).set_requires_grad(true), y = x.detach().clone().set_requires_grad(true);
    const PairComm comm({at::zeros({1, 3, 3}, at::kDouble)});  // a rank without samples
    const auto found = alone.forward(x), expected = gathered.forward(y, comm);
    CHECK(at::allclose(found, expected, 1e-12, 1e-12));
    found.pow(3).sum().backward();
    expected.pow(3).sum().backward();
    CHECK(at::allclose(x.grad(), y.grad(), 1e-9, 1e-10));
    CHECK(at::allclose(alone.weight.grad(), gathered.weight.grad(), 1e-10, 1e-10));
    CHECK(at::allclose(alone.running_mean, gathered.running_mean, 1e-12, 1e-12));
    CHECK(at::allclose(alone.running_var, gathered.running_var, 1e-12, 1e-12));
    CHECK(at::equal(alone.num_batches_tracked, gathered.num_batches_tracked));
  }
}

TEST_CASE("a rank without samples takes part in every gather of a residual network") {
  const auto encoder = small_resnet(2);
  CHECK(encoder->gathers());
  std::vector<at::Tensor> others;
  for (const std::int64_t width : {64, 64, 64, 128, 128, 128, 256, 256, 256, 512, 512, 512}) {
    auto moments = at::ones({1, 3, width});
    moments.select(1, 2).fill_(8);
    others.push_back(moments);
  }
  const PairComm comm(others);
  Context context;
  context.comm = &comm;
  const auto zero = encoder->absent(context);
  CHECK(zero.item<float>() == 0);
  CHECK(comm.seen.size() == others.size());
  encoder->eval();
  CHECK_FALSE(encoder->gathers());
}

TEST_CASE("a residual network starts as its shortcuts, and its norms have torch's names") {
  const auto encoder = small_resnet(3);
  const auto names = encoder->named_parameters();
  CHECK(names["conv1.weight"].sizes() == at::IntArrayRef({64, 1, 7, 7, 7}));
  CHECK(names["layer2.0.downsample.0.weight"].sizes() == at::IntArrayRef({128, 64, 1, 1, 1}));
  CHECK(names["layer1.0.bn2.weight"].abs().max().item<float>() == 0);
  CHECK(encoder->named_buffers().contains("layer4.0.bn2.num_batches_tracked"));
  CHECK(encoder->strides() == std::vector<std::int64_t>{2, 4, 8, 16, 32});
}
