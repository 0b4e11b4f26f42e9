# gantry_add_plugin(NAME SOURCES file... [MANIFEST plugin.toml] [LIBS library...] [CHECK argument...]
#                   [OUTPUT_DIR folder])
#
# Builds the plugin NAME as the target plugin_<role>_NAME, in lib/gantry/plugins/<role>/NAME.so of the build folder (or
# in OUTPUT_DIR/<role>/NAME.so, then it is neither installed nor checked). The role, id and version stand in the manifest;
# the whole of it is checked and becomes the ELF note. The file exports gantry_plugin_entry and nothing else.
# Adds the test check_<role>_NAME, which runs `gantry-plugin check` with the arguments of CHECK, unless
# GANTRY_PLUGIN_CHECKS is OFF.
#
# gantry_use_plugin(TEST plugin_<role>_NAME): TEST is built after the plugin and finds its file in the macro
# GANTRY_PLUGIN_FILE.
#
# The same file serves Gantry's own tree and, from the installed package, everybody else's.

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
  cmake_parse_arguments(arg "" "MANIFEST;OUTPUT_DIR" "SOURCES;LIBS;CHECK" ${ARGN})
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "gantry_add_plugin(${name}): needs SOURCES, does not know \"${arg_UNPARSED_ARGUMENTS}\"")
  endif()
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
  set(map ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/gantry-plugin.map)

  # The note is a source in a language that the project has.
  get_property(languages GLOBAL PROPERTY ENABLED_LANGUAGES)
  set(note ${CMAKE_CURRENT_BINARY_DIR}/${target}_note.c)
  set(layer Gantry::cpp)
  if(NOT C IN_LIST languages)
    set(note ${note}pp)
  elseif(NOT CXX IN_LIST languages)
    set(layer Gantry::abi)
  endif()
  add_custom_command(OUTPUT ${note}
    COMMAND Gantry::note ${manifest} ${note} ${id} ${version} ${role}
    DEPENDS $<TARGET_FILE:Gantry::note> ${manifest} VERBATIM)

  add_library(${target} MODULE ${arg_SOURCES} ${note})
  target_link_libraries(${target} PRIVATE ${layer} ${arg_LIBS})
  if(COMMAND gantry_own)
    gantry_own(${target})
  endif()
  target_compile_definitions(${target} PRIVATE GANTRY_PLUGIN_ID="${id}" GANTRY_PLUGIN_VERSION="${version}"
    GANTRY_PLUGIN_ROLE="${role}")
  target_compile_options(${target} PRIVATE -fvisibility=hidden -fstack-protector-strong
    $<$<COMPILE_LANGUAGE:CXX>:-fvisibility-inlines-hidden>
    $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-gnu-unique>)
  target_link_options(${target} PRIVATE LINKER:--version-script=${map} LINKER:-z,now LINKER:-z,relro
    LINKER:-z,noexecstack LINKER:--build-id)
  # Clang's sanitizers leave their own symbols open. (Their list has commas, which a generator expression cannot take.)
  if(NOT (GANTRY_SANITIZE AND CMAKE_CXX_COMPILER_ID MATCHES "Clang"))
    target_link_options(${target} PRIVATE LINKER:-z,defs)
  endif()
  set_target_properties(${target} PROPERTIES PREFIX "" SUFFIX .so OUTPUT_NAME ${name} NO_SONAME ON
    BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "" LINK_DEPENDS ${map})
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
    if(NOT DEFINED GANTRY_PLUGIN_CHECKS OR GANTRY_PLUGIN_CHECKS)
      add_test(NAME check_${folder}_${name}
        COMMAND $<TARGET_FILE:Gantry::plugin> check $<TARGET_FILE:${target}> ${arg_CHECK})
    endif()
  endif()
endfunction()

function(gantry_use_plugin test plugin)
  add_dependencies(${test} ${plugin})
  target_compile_definitions(${test} PRIVATE GANTRY_PLUGIN_FILE="$<TARGET_FILE:${plugin}>")
endfunction()
