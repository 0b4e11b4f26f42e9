# Flags of all our own code. gantry_flags is linked PRIVATE by every target through gantry_own().
add_library(gantry_flags INTERFACE)
target_compile_options(gantry_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wpointer-arith -fstack-protector-strong
  # g++ 12 sees uninitialised values in std::expected and std::variant that are none.
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>>:-Wno-maybe-uninitialized>
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>
  $<$<COMPILE_LANGUAGE:CXX>:-Woverloaded-virtual>
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>
  # Small boards: half the text of -O2 for a tenth of the speed. What that tenth counts for asks for gantry_quick().
  # The code of tests (GANTRY_PLAIN) is compiled as fast as the compiler can; what it tests is not.
  $<IF:$<BOOL:$<TARGET_PROPERTY:GANTRY_PLAIN>>,-O0,$<$<CONFIG:Release>:-Os>>
  $<$<AND:$<CONFIG:Release>,$<BOOL:$<TARGET_PROPERTY:GANTRY_PLAIN>>>:-U_FORTIFY_SOURCE>
  $<$<CONFIG:Release>:-ffunction-sections> $<$<CONFIG:Release>:-fdata-sections>)
# Sorted by name, what belongs together lies together, and an agent never touches a controller's pages.
target_link_options(gantry_flags INTERFACE $<$<CONFIG:Release>:LINKER:--gc-sections,--sort-section=name>)
if(GANTRY_SANITIZE)
  add_compile_options(-fsanitize=${GANTRY_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${GANTRY_SANITIZE})
else()
  add_compile_definitions($<$<CONFIG:Release>:_FORTIFY_SOURCE=2>)
endif()

# gantry_own(TARGET): this target is our own code: warnings are errors, headers are found from the repository's root.
function(gantry_own target)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:gantry_flags>)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
endfunction()

# gantry_quick(SOURCES file...): these sources of the current folder are compiled for speed in a release.
function(gantry_quick)
  cmake_parse_arguments(arg "" "" "SOURCES" ${ARGN})
  if(CMAKE_BUILD_TYPE STREQUAL "Release")
    set_property(SOURCE ${arg_SOURCES} APPEND PROPERTY COMPILE_OPTIONS -O2)
  endif()
endfunction()

# gantry_together(TARGET): several files of this target are compiled as one where all of them are built anyway, in a
# release and under a sanitizer, for most of what a file costs is headers. Names in an anonymous namespace are then seen
# by the neighbours; the preset dev compiles each file alone, so a header that is missing shows there.
function(gantry_together target)
  if(GANTRY_SANITIZE OR CMAKE_BUILD_TYPE STREQUAL "Release")
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON)
  endif()
endfunction()
