#pragma once
// Objects of a sample, learned from points, boxes or instance label maps: an encoder, a decoder of its maps, and a head.

#include <string>
#include <vector>

#include "nn/detection_head.h"
#include "tasks/dense_task.h"

namespace sslmed::tasks {

enum class Detected {
  kPoints,  // a heat map of centers for each class, and the offset of a center within its cell
  kBoxes,   // and the sizes of the box around it (CenterNet, arXiv 1904.07850)
  kStars,   // an object probability and distances to the object's edge along rays, of pictures (StarDist, arXiv 1806.03535)
};

struct DetectOptions {
  Detected kind = Detected::kPoints;
  std::string target = "objects";  // a name in ViewBatch::targets: points, boxes, or label maps of kInstances · class + number
  std::int64_t classes = 1;
  std::string decoder = "unet";  // of nn::decoder_names()
  std::int64_t features = 32;    // of the decoder's result and the head
  std::vector<std::int64_t> layers;
  std::int64_t groups = 0;
  bool residual = false, attention = false;
  std::int64_t stride = 1;   // cells of the view to a cell of the maps, along every axis
  std::int64_t rays = 32;    // kStars
  double scale = 1;          // cells of the view that a size or a distance of 1 in the network's output is
  double radius = 3;         // kPoints: of the Gaussians
  double min_overlap = 0.7;  // kBoxes: of the Gaussians
  // Weights of the loss: heat map or object probability, offsets, sizes, distances, classes; and of distances outside of objects.
  double score_weight = 1, offset_weight = 1, size_weight = 0.1, distance_weight = 0.2, class_weight = 1, background = 1e-4;
  Tuned tuned = Tuned::kEncoder;
  double layer_decay = 1, drop_path = 0;
  std::uint64_t seed = 0;
};

class Detect : public DenseTask {
 public:
  Detect(std::shared_ptr<nn::Encoder> encoder, const DetectOptions& options, std::shared_ptr<const data::Recipe> recipe = nullptr);

  // Points and boxes: focal loss over all cells, and absolute errors in the cells of centers, divided by the number of objects; a sample without any counts
  // as if it had one. Stars: a mean over samples, see star_losses.
  methods::Loss loss(const data::Batch& batch, const methods::Step& step) override;

  const DetectOptions& options() const { return options_; }
  std::int64_t rank() const { return rank_; }
  std::int64_t channels() const { return scores() + numbers(); }
  // [B, C, spatial…] to maps [B, channels, spatial / stride…]. Points and boxes: scores of the classes, offsets [rank] in cells of the map, sizes [rank] in
  // cells of the input. Stars: object probability, distances [rays] in cells of the input, and probabilities of [background, classes…] where there are several.
  at::Tensor forward(const at::Tensor& dense) const;

 private:
  std::int64_t scores() const { return options_.kind == Detected::kStars ? 1 : options_.classes; }
  std::int64_t numbers() const;
  at::Tensor raw(const at::Tensor& decoded, const nn::Rows& rows) const;
  void add_centers(PartsOfLoss& to, const at::Tensor& maps, const std::vector<at::Tensor>& objects) const;
  void add_stars(PartsOfLoss& to, const at::Tensor& maps, const std::vector<at::Tensor>& objects) const;

  DetectOptions options_;
  std::int64_t rank_;
  std::shared_ptr<nn::DetectionHead> head_;
};

}  // namespace sslmed::tasks
