#pragma once
// Where a slide has tissue, as an index keeps it: cells of a grid, row by row, as lengths of stretches without and with tissue by turns,
// each a number of 7 bits a byte, least first. A slide of 15 mm in cells of 32 µm takes a few thousand bytes.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sslmed::picture {

struct TissueRun {
  std::int64_t first, last;  // cells [first, last)
};

// mask [cells], not 0 where tissue is.
std::string tissue_runs(const std::uint8_t* mask, std::int64_t cells);

// The stretches with tissue, in order. ValueError where the bytes are cut or go past `cells`.
void read_tissue_runs(std::string_view bytes, std::int64_t cells, std::vector<TissueRun>& into);

}  // namespace sslmed::picture
