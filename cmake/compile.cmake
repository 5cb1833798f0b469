# Warnings, optimisation and sanitizers, as one interface target that every other links.
add_library(sslmed_options INTERFACE)
target_include_directories(sslmed_options INTERFACE ${PROJECT_SOURCE_DIR}/csrc)
# No value-changing optimisation: the same bits in every run are a promise of the library.
target_compile_options(sslmed_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-psabi -Wno-restrict -fvisibility-inlines-hidden>)
find_package(Threads REQUIRED)
target_link_libraries(sslmed_options INTERFACE Threads::Threads)
if(SSLMED_SANITIZE)
  target_compile_options(sslmed_options INTERFACE -fsanitize=${SSLMED_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(sslmed_options INTERFACE -fsanitize=${SSLMED_SANITIZE})
endif()
# Headers that take longer to parse than the target's own sources, parsed once for all of them.
function(parse_once target)
  if(SSLMED_PCH)
    list(TRANSFORM ARGN REPLACE "(.+)" "$<$<COMPILE_LANGUAGE:CXX>:<\\1$<ANGLE-R>>")
    target_precompile_headers(${target} PRIVATE ${ARGN})
  endif()
endfunction()
