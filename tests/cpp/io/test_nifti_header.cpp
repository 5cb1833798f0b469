#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "io/nifti_header.h"
#include "nifti_bytes.h"

using namespace sslmed;
using namespace sslmed::io;
using sslmed::testing::NiftiBytes;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
using Sides = std::vector<std::int64_t>;

struct Parsed {
  NiftiHeader header;
  std::vector<std::string> warnings;
};

Parsed parsed(const NiftiBytes& file, const std::string& path = "a.nii") {
  Parsed out;
  const auto& bytes = file.header();
  out.header = parse_nifti_header(path, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), out.warnings);
  return out;
}

// The only warning has this text.
bool warns(const Parsed& found, const std::string& text) { return found.warnings.size() == 1 && found.warnings[0].find(text) != std::string::npos; }

NiftiBytes with_qform(int version = 1) {
  NiftiBytes file({4, 4, 4}, 2, version);
  file.sform(0).qform(1);
  for (std::size_t i = 0; i < 3; ++i)
    file.real(256, 352, i, 0.5).real(268, 376, i, 7 + static_cast<double>(i)).real(76, 104, i + 1, 2 + static_cast<double>(i));
  return file;
}

}  // namespace

TEST_CASE("nifti header: a turn by the quaternion, handed by pixdim[0]") {
  for (const int version : {1, 2}) {
    const std::array<double, 16> right{0, 0, 4, 7, 2, 0, 0, 8, 0, 3, 0, 9, 0, 0, 0, 1};
    CHECK(parsed(with_qform(version)).header.affine == right);
    auto left = right;
    left[2] = -4;
    CHECK(parsed(with_qform(version).real(76, 104, 0, -1)).header.affine == left);
    const auto repaired = parsed(with_qform(version).real(76, 104, 0, 0));
    CHECK(repaired.header.affine == right);
    CHECK(warns(repaired, "pixdim[0] (qfac) is neither 1 nor -1"));
  }
}

TEST_CASE("nifti header: a quaternion longer than 1 is refused, and left out beside a sform") {
  auto file = with_qform();
  file.real(256, 352, 0, 1.1);
  CHECK_THROWS_WITH(parsed(file), Catch::Contains("a qform with a unit quaternion"));
  CHECK(warns(parsed(file.sform(2)), "the qform is not a rotation"));
  CHECK_THROWS_AS(parsed(with_qform().real(256, 352, 1, kNaN)), FormatError);
  // Rounding to float32 may make it a little longer; then w is 0.
  auto half_turn = with_qform();
  half_turn.put(256, std::nextafter(1.0f, 2.0f)).real(256, 352, 1, 0).real(256, 352, 2, 0);
  CHECK(parsed(half_turn).header.affine[0] == Approx(2));
}

TEST_CASE("nifti header: the sform is used where it is set, and a differing qform is told") {
  auto file = with_qform();
  file.sform(4);
  const auto found = parsed(file);
  CHECK(found.header.affine == std::array<double, 16>{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1});
  CHECK(found.header.affine_code == 4);
  CHECK(warns(found, "sform and qform differ"));
  for (std::size_t i = 0; i < 3; ++i) {
    file.real(280, 400, 5 * i, 0).real(280, 400, 4 * i + 3, 7 + static_cast<double>(i));
    file.real(280, 400, 4 * ((i + 1) % 3) + i, 2 + static_cast<double>(i) + 1.9e-3);  // less than a thousandth of a cell
  }
  CHECK(parsed(file).warnings.empty());
}

TEST_CASE("nifti header: without an orientation it is Analyze's, and loudly so") {
  NiftiBytes file({3, 5, 7}, 2);
  const auto found = parsed(file.sform(0).real(76, 104, 1, 3).real(76, 104, 2, 2));
  CHECK(found.header.affine == std::array<double, 16>{-3, 0, 0, 3, 0, 2, 0, -4, 0, 0, 1, -3, 0, 0, 0, 1});
  CHECK(found.header.affine_code == 0);
  CHECK(warns(found, "HAS NO ORIENTATION"));
  // Codes that are not defined count as none.
  const auto unknown = parsed(NiftiBytes({1, 1, 1}, 2).sform(6).qform(-1));
  CHECK(unknown.header.affine_code == 0);
  CHECK(unknown.warnings.size() == 3);
}

TEST_CASE("nifti header: sizes of cells are repaired and in mm and s") {
  NiftiBytes file({1, 1, 1, 1, 1}, 2);
  file.real(76, 104, 1, 0).real(76, 104, 2, -2).real(76, 104, 4, 500).real(76, 104, 5, 9);
  const auto found = parsed(file.units(2 | 16));
  CHECK(found.header.spacing == std::vector<double>{1, 2, 1, 0.5, 9});
  CHECK(found.warnings.size() == 2);
  const auto micron = parsed(NiftiBytes({1, 1}, 2).units(3 | 24));
  CHECK(micron.header.spacing == std::vector<double>{1e-3, 1e-3});
  CHECK(micron.header.affine[0] == 1e-3);
  CHECK(warns(micron, "lengths are in µm, converted to mm"));
  CHECK(parsed(NiftiBytes({1, 1, 1, 1}, 2).units(1).real(76, 104, 3, 0.002)).header.spacing ==
        std::vector<double>{1000, 1000, static_cast<double>(0.002f) * 1000, 1});
  CHECK(parsed(NiftiBytes({1, 1, 1, 1}, 2).units(0)).header.spacing == std::vector<double>{1, 1, 1, 1});
}

TEST_CASE("nifti header: a slope that is 0 or not finite means none, an intercept must be finite") {
  for (const double slope : {0.0, kNaN, std::numeric_limits<double>::infinity()}) CHECK_FALSE(parsed(NiftiBytes({1}, 4).scale(slope, 5)).header.is_scaled);
  CHECK_FALSE(parsed(NiftiBytes({1}, 4).scale(1, 0)).header.is_scaled);
  CHECK(parsed(NiftiBytes({1}, 4).scale(1, 5)).header.inter == 5);
  CHECK_THROWS_WITH(parsed(NiftiBytes({1}, 4).scale(2, kNaN)), Catch::Contains("a finite scl_inter"));
  const auto colors = parsed(NiftiBytes({1}, 128).scale(2, 0));
  CHECK_FALSE(colors.header.is_scaled);
  CHECK(warns(colors, "do not apply to colors"));
}

TEST_CASE("nifti header: FreeSurfer's long axes are understood in NIfTI-1") {
  CHECK(parsed(NiftiBytes({-1, 1, 1, 3}, 16).put(144, std::int32_t{99999})).header.shape == Sides{99999, 1, 1, 3});
  CHECK_THROWS_WITH(parsed(NiftiBytes({-1, 1, 1}, 16)), Catch::Contains("glmin=0"));
  CHECK(parsed(NiftiBytes({27307, 1, 6}, 16)).header.shape == Sides{163842, 1, 1});
  CHECK_THROWS_AS(parsed(NiftiBytes({-1, 1, 1}, 16, 2)), FormatError);
  CHECK(parsed(NiftiBytes({27307, 1, 6}, 16, 2)).header.shape == Sides{27307, 1, 6});
}

TEST_CASE("nifti header: values begin behind the header") {
  for (const float offset : {0.0f, 100.0f, -5.0f}) {
    const auto found = parsed(NiftiBytes({1}, 2).put(108, offset));
    CHECK(found.header.data_offset == 352);
    CHECK(warns(found, "is within the header"));
  }
  CHECK(parsed(NiftiBytes({1}, 2).put(108, 1000.9f)).header.data_offset == 1000);
  CHECK(parsed(NiftiBytes({1}, 2).put(108, 0.0f), "a.img").header.data_offset == 0);
  CHECK_THROWS_AS(parsed(NiftiBytes({1}, 2).put(108, std::numeric_limits<float>::quiet_NaN())), FormatError);
}

TEST_CASE("nifti header: what cannot be read is refused by what it is") {
  const auto refused = [](const NiftiBytes& file, const char* text) { CHECK_THROWS_WITH(parsed(file), Catch::Contains(text)); };
  refused(NiftiBytes({1}, 32), "datatype=32 (complex64)");
  refused(NiftiBytes({1}, 1536), "datatype=1536 (float128)");
  refused(NiftiBytes({1}, 3), "datatype=3");
  refused(NiftiBytes({2, 0, 2}, 2), "dim[2]=0");
  refused(NiftiBytes({}, 2), "dim[0]");
  refused(NiftiBytes({std::int64_t{1} << 40, std::int64_t{1} << 40}, 2, 2), "at most 2^56 cells");
  refused(NiftiBytes({1}, 2, 1, false, "xxx"), "Analyze 7.5");
  refused(NiftiBytes({1}, 2, 2).put(8, std::uint32_t{0x0a0a1a0a}), "ends of lines were converted");
  CHECK(warns(parsed(NiftiBytes({1}, 2).put(0, std::int32_t{5})), "sizeof_hdr is not 348"));
  std::vector<std::string> warnings;
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\n";
  CHECK_THROWS_WITH(parse_nifti_header("a.nii", reinterpret_cast<const std::uint8_t*>(pointer.data()), pointer.size(), warnings),
                    Catch::Contains("git lfs pull"));
  CHECK_THROWS_WITH(parse_nifti_header("a.nii", nullptr, 0, warnings), Catch::Contains("348 bytes or more"));
}
