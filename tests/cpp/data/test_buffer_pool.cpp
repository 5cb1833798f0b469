#include "catch.h"
#include "data/buffer_pool.h"

using namespace sslmed::data;

TEST_CASE("a batch's memory is used again when nobody holds it, and outlives the pool while somebody does") {
  auto pool = BufferPool::make(1);
  auto first = pool->empty({100, 50});
  const void* at = first.data_ptr();
  const auto second = pool->empty({100, 50});
  CHECK(second.data_ptr() != at);
  first.reset();
  first = pool->empty({90, 50});  // a little smaller fits as well
  CHECK(first.data_ptr() == at);
  CHECK(pool->empty({4, 500}).data_ptr() != at);
  pool.reset();
  first.fill_(3);
  CHECK(first.sum().item<double>() == 13500);
}
