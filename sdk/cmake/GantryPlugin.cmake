# gantry_add_plugin(NAME SOURCES file... [MANIFEST plugin.toml] [LIBS library...] [OUTPUT_DIR folder])
#
# Builds the plugin NAME as the target plugin_<role>_NAME, in lib/gantry/plugins/<role>/NAME.so of the build folder (or
# in OUTPUT_DIR/<role>/NAME.so, then it is not installed). The role, id and version stand in the manifest; the whole of
# it is checked and becomes the ELF note. The file exports gantry_plugin_entry and nothing else.
#
# gantry_use_plugin(TEST plugin_<role>_NAME): TEST is built after the plugin and finds its file in the macro
# GANTRY_PLUGIN_FILE.
set(GANTRY_PLUGIN_MAP ${CMAKE_CURRENT_LIST_DIR}/gantry-plugin.map)

# Reads KEY = "VALUE" on a line of its own. gantry-note checks with a real parser that it read the same.
function(_gantry_manifest_value out manifest key)
  file(STRINGS ${manifest} lines REGEX "^${key}[ \t]*=[ \t]*\"[^\"]*\"" LIMIT_COUNT 1)
  if(NOT lines)
    message(FATAL_ERROR "${manifest}: no line ${key} = \"...\"")
  endif()
  string(REGEX REPLACE "^${key}[ \t]*=[ \t]*\"([^\"]*)\".*" "\\1" value "${lines}")
  set(${out} "${value}" PARENT_SCOPE)
endfunction()

function(gantry_add_plugin name)
  cmake_parse_arguments(arg "" "MANIFEST;OUTPUT_DIR" "SOURCES;LIBS" ${ARGN})
  if(NOT arg_MANIFEST)
    set(arg_MANIFEST plugin.toml)
  endif()
  get_filename_component(manifest ${arg_MANIFEST} ABSOLUTE)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${manifest})
  _gantry_manifest_value(id ${manifest} id)
  _gantry_manifest_value(version ${manifest} version)
  _gantry_manifest_value(role ${manifest} role)
  string(REGEX REPLACE "^draft[.]|/.*$" "" folder ${role})
  set(target plugin_${folder}_${name})

  set(note ${CMAKE_CURRENT_BINARY_DIR}/${target}_note.c)
  add_custom_command(OUTPUT ${note}
    COMMAND gantry-note ${manifest} ${note} ${id} ${version} ${role}
    DEPENDS gantry-note ${manifest} VERBATIM)

  add_library(${target} MODULE ${arg_SOURCES} ${note})
  target_link_libraries(${target} PRIVATE gantry_cpp ${arg_LIBS})
  if(COMMAND gantry_own)
    gantry_own(${target})
  endif()
  target_compile_definitions(${target} PRIVATE GANTRY_PLUGIN_ID="${id}" GANTRY_PLUGIN_VERSION="${version}"
    GANTRY_PLUGIN_ROLE="${role}")
  target_compile_options(${target} PRIVATE -fvisibility=hidden -fstack-protector-strong
    $<$<COMPILE_LANGUAGE:CXX>:-fvisibility-inlines-hidden>
    $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-gnu-unique>)
  target_link_options(${target} PRIVATE LINKER:--version-script=${GANTRY_PLUGIN_MAP} LINKER:-z,now LINKER:-z,relro
    LINKER:-z,noexecstack LINKER:--build-id)
  # Clang's sanitizers leave their own symbols open. (Their list has commas, which a generator expression cannot take.)
  if(NOT (GANTRY_SANITIZE AND CMAKE_CXX_COMPILER_ID MATCHES "Clang"))
    target_link_options(${target} PRIVATE LINKER:-z,defs)
  endif()
  set_target_properties(${target} PROPERTIES PREFIX "" SUFFIX .so OUTPUT_NAME ${name} NO_SONAME ON
    BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "" LINK_DEPENDS ${GANTRY_PLUGIN_MAP})
  if(COMMAND gantry_list_plugin)
    set(output ${CMAKE_BINARY_DIR}/lib/gantry/plugins)
    if(arg_OUTPUT_DIR)
      set(output ${arg_OUTPUT_DIR})
    endif()
    gantry_list_plugin(${target} ${output} ${folder})
  endif()
  if(arg_OUTPUT_DIR)
    set_target_properties(${target} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${arg_OUTPUT_DIR}/${folder})
  else()
    set_target_properties(${target} PROPERTIES
      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/gantry/plugins/${folder})
    install(TARGETS ${target} LIBRARY DESTINATION lib/gantry/plugins/${folder} COMPONENT plugins)
  endif()
endfunction()

function(gantry_use_plugin test plugin)
  add_dependencies(${test} ${plugin})
  target_compile_definitions(${test} PRIVATE GANTRY_PLUGIN_FILE="$<TARGET_FILE:${plugin}>")
endfunction()
