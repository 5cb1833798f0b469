#include "ops/cuda/augment_jobs.h"

#include <utility>

#include "transforms/colour.h"
#include "transforms/pixel.h"
#include "transforms/stain.h"

namespace sslmed::ops::cuda {

AugmentJobs augment_jobs(const std::vector<transforms::PlacedPlan>& plans) {
  AugmentJobs out;
  out.jobs.reserve(plans.size());
  const auto take = [](std::int64_t& used, std::int64_t elements) { return std::exchange(used, used + elements); };
  for (const auto& placed : plans) {
    AugmentJob job{};
    const auto& plan = job.plan = placed.plan;
    job.source = placed.first;
    job.width = placed.width;
    job.height = placed.height;
    const auto size = plan.size, pixels = size * size;
    const auto& box = plan.box;
    job.resized = transforms::resizes(plan);
    if (job.resized) {
      job.most_across = transforms::most_taps(box.width, size);
      job.most_down = transforms::most_taps(box.height, size);
      job.first_row = transforms::reach_of(job.height, box.y, box.height, size, 0).first;
      job.rows = transforms::reach_of(job.height, box.y, box.height, size, size - 1).last - job.first_row;
      job.taps = take(out.sizes.taps, size * (job.most_across + job.most_down + 4));
      job.shrunk = take(out.sizes.shrunk, 3 * size * job.rows);
    }
    job.rgb = take(out.sizes.rgb, 3 * pixels);
    if (plan.macenko) job.keys = take(out.sizes.keys, pixels);
    if (plan.hed) {
      const auto change = transforms::hed_change(plan.hed_scale, plan.hed_shift);
      for (std::size_t to = 0; to < 3; ++to) {
        job.hed_offset[to] = static_cast<float>(change.offset[to]);
        for (std::size_t from = 0; from < 3; ++from) job.hed_matrix[3 * to + from] = static_cast<float>(change.matrix[to][from]);
      }
    }
    if (plan.blur > 0) {
      const auto weights = transforms::blur_weights(transforms::blur_side(size), plan.blur);
      job.reach = static_cast<std::int32_t>(weights.size()) - 1;
      job.weights = static_cast<std::int64_t>(out.weights.size());
      out.weights.insert(out.weights.end(), weights.begin(), weights.end());
      if (job.reach > 0) job.sums = take(out.sizes.sums, 3 * pixels);
    }
    job.out = take(out.sizes.out, 3 * pixels);
    out.jobs.push_back(job);
  }
  return out;
}

}  // namespace sslmed::ops::cuda
