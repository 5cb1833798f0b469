#include <ATen/Functions.h>

#include <array>
#include <barrier>
#include <functional>
#include <thread>
#include <vector>

#include "catch.h"
#include "methods/losses.h"

using namespace sslmed;
using namespace sslmed::methods;

namespace {

// Two ranks as threads: a gathering waits for the other one, and gradients go through to its rows.
class Meeting {
 public:
  at::Tensor gather(int rank, const at::Tensor& rows) {
    parts_[static_cast<std::size_t>(rank)] = rows;
    barrier_.arrive_and_wait();
    auto all = at::cat({parts_[0], parts_[1]});
    barrier_.arrive_and_wait();
    return all;
  }

 private:
  std::array<at::Tensor, 2> parts_;
  std::barrier<> barrier_{2};
};

class OneOfTwo : public nn::Comm {
 public:
  OneOfTwo(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return 2; }
  at::Tensor all_gather(const at::Tensor& rows) const override { return meeting_.gather(rank_, rows); }

 private:
  Meeting& meeting_;
  int rank_;
};

using Call = std::function<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, const nn::Comm&)>;

// The mean over all rows of two ranks, of which the first has `first` rows, and its gradients of a and b.
std::vector<at::Tensor> on_two_ranks(const Call& call, at::Tensor a, at::Tensor b, const at::Tensor& metadata, std::int64_t first) {
  a = a.clone().requires_grad_();
  b = b.clone().requires_grad_();
  Meeting meeting;
  std::array<at::Tensor, 2> losses;
  const std::int64_t starts[] = {0, first}, counts[] = {first, a.size(0) - first};
  const auto run = [&](int rank) {
    const OneOfTwo comm(meeting, rank);
    const auto part = [&](const at::Tensor& x) { return x.narrow(0, starts[rank], counts[rank]); };
    losses[static_cast<std::size_t>(rank)] = call(part(a), part(b), part(metadata), comm);
  };
  std::thread other(run, 1);
  run(0);
  other.join();
  const auto rows = static_cast<double>(a.size(0));
  const auto loss = losses[0] * (static_cast<double>(counts[0]) / rows) + losses[1] * (static_cast<double>(counts[1]) / rows);
  loss.backward();
  return {loss.detach(), a.grad(), b.grad()};
}

}  // namespace

TEST_CASE("two ranks with different numbers of rows, or none, have the loss and the gradients of one process") {
  at::manual_seed(3);
  const auto a = at::randn({7, 5}, at::kDouble), b = at::randn({7, 5}, at::kDouble), metadata = 30 + 10 * at::rand({7}, at::kDouble);
  const std::vector<Call> calls{
      [](auto& x, auto& y, auto&, auto& comm) { return nt_xent(x, y, 0.2, comm); },
      [](auto& x, auto& y, auto&, auto& comm) { return info_nce(x, y, 0.2, comm); },
      [](auto& x, auto& y, auto& z, auto& comm) { return y_aware(x, y, z, 5, 0.2, comm); },
      [](auto& x, auto& y, auto& z, auto& comm) { return l_exp(x, y, z, 5, 0.2, comm); },
      [](auto& x, auto& y, auto&, auto& comm) { return koleo(x, comm) + koleo(y, comm); },
      [](auto& x, auto& y, auto&, auto& comm) { return uniformity(x, 5, comm) + uniformity(y, 3, comm); },
      [](auto& x, auto& y, auto&, auto& comm) { return vicreg(x, y, {}, comm); },
      [](auto& x, auto& y, auto&, auto& comm) { return barlow_twins(x, y, 5e-3, comm); },
  };
  for (const auto& call : calls) {
    const auto one_a = a.clone().requires_grad_(), one_b = b.clone().requires_grad_();
    const auto one = call(one_a, one_b, metadata, nn::Comm::alone());
    one.backward();
    for (const std::int64_t first : {3, 6, 0}) {
      const auto two = on_two_ranks(call, a, b, metadata, first);
      CHECK(at::allclose(two[0], one, 1e-12, 1e-12));
      CHECK(at::allclose(two[1], one_a.grad(), 1e-10, 1e-12));
      CHECK(at::allclose(two[2], one_b.grad(), 1e-10, 1e-12));
    }
  }
}

TEST_CASE("Sinkhorn shares prototypes out over the samples of all ranks") {
  at::manual_seed(4);
  const auto logits = at::randn({9, 6}, at::kDouble);
  const auto one = sinkhorn(logits, 0.1, 3);
  CHECK(at::allclose(one.sum(1), at::ones({9}, at::kDouble)));
  for (const std::int64_t first : {4, 0}) {
    Meeting meeting;
    at::Tensor upper, lower;
    std::thread other([&] { lower = sinkhorn(logits.narrow(0, first, 9 - first), 0.1, 3, OneOfTwo(meeting, 1)); });
    upper = sinkhorn(logits.narrow(0, 0, first), 0.1, 3, OneOfTwo(meeting, 0));
    other.join();
    CHECK(at::allclose(at::cat({upper, lower}), one, 1e-12, 1e-14));
  }
}

TEST_CASE("DINO of known values") {
  const auto student = at::tensor({1.0, 0.0, 0.0, 2.0}, at::kDouble).view({2, 1, 2}).requires_grad_();
  const auto teacher = at::tensor({3.0, 3.0, 1.0, 1.0}, at::kDouble).view({2, 1, 2}), center = at::zeros({2}, at::kDouble);
  const auto loss = dino(student, teacher, center, 1, 0.5);
  // Targets are halves: -0.5 * (log softmax(1, 0) summed) and the same for (0, 2), each the other's pair.
  const double first = std::log(1 + std::exp(1.0)) - 0.5, second = std::log(1 + std::exp(2.0)) - 1;
  CHECK(loss.item<double>() == Approx((first + second) / 2));
  CHECK(dino_pairs(student, at::softmax(teacher / 0.5, -1), 1).item<double>() == Approx(loss.item<double>()));
}

TEST_CASE("losses refuse what they cannot compute") {
  const auto rows = at::randn({4, 3});
  CHECK_THROWS_AS(nt_xent(rows, at::randn({4, 2}), 0.1), c10::ValueError);
  CHECK_THROWS_AS(nt_xent(rows, rows, 0), c10::ValueError);
  CHECK_THROWS_AS(nt_xent(at::randn({0, 3}), at::randn({0, 3}), 0.1), c10::ValueError);
  CHECK_THROWS_AS(y_aware(rows, rows, at::ones({3}), 5, 0.1), c10::ValueError);
  CHECK_THROWS_AS(uniformity(rows.narrow(0, 0, 1)), c10::ValueError);
  CHECK_THROWS_AS(vicreg(rows.narrow(0, 0, 1), rows.narrow(0, 0, 1)), c10::ValueError);
  CHECK_THROWS_AS(koleo(at::ones({4, 3}, at::kLong)), c10::TypeError);
  CHECK_THROWS_AS(dino_pairs(rows.unsqueeze(0), rows.unsqueeze(0), 0.1), c10::ValueError);
  CHECK_THROWS_AS(sinkhorn(rows, 0.1, 0), c10::ValueError);
}
