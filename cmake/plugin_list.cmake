# The list of digests of a folder of plugins (gantry-plugins.sha256, sha256sum's format), kept in step with every plugin
# that is linked into it: gantry_add_plugin() calls gantry_list_plugin() where there is one.
#
#     cmake -DFILE=FOLDER/ROLE/NAME.so -DNAME=ROLE/NAME.so -DLIST=FOLDER/gantry-plugins.sha256 -P plugin_list.cmake
#
# brings the line of one plugin up to date; plugins that are linked at the same time wait for each other.
if(CMAKE_SCRIPT_MODE_FILE)
  file(LOCK ${LIST}.lock GUARD PROCESS TIMEOUT 60)
  file(SHA256 ${FILE} digest)
  set(lines "")
  if(EXISTS ${LIST})
    file(STRINGS ${LIST} lines)
  endif()
  list(FILTER lines EXCLUDE REGEX "  ${NAME}$")
  list(APPEND lines "${digest}  ${NAME}")
  list(SORT lines)
  list(JOIN lines "\n" text)
  file(WRITE ${LIST}.new "${text}\n")
  file(RENAME ${LIST}.new ${LIST})
  return()
endif()

set(GANTRY_PLUGIN_LIST_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(gantry_list_plugin target folder role)
  get_target_property(name ${target} OUTPUT_NAME)
  add_custom_command(TARGET ${target} POST_BUILD
    COMMAND ${CMAKE_COMMAND} -DFILE=$<TARGET_FILE:${target}> -DNAME=${role}/${name}.so
      -DLIST=${folder}/gantry-plugins.sha256 -P ${GANTRY_PLUGIN_LIST_SCRIPT} VERBATIM)
endfunction()
