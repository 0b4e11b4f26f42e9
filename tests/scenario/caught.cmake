# Plays worlds with PROGRAM, which has a bug compiled in, and passes only if one of them breaks the INVARIANT: a crash or
# another failure does not count.
execute_process(COMMAND ${PROGRAM} --quiet --seeds 2000 --plugins ${PLUGINS} RESULT_VARIABLE result OUTPUT_VARIABLE output
                ERROR_VARIABLE output)
if(result EQUAL 0)
  message(FATAL_ERROR "2,000 worlds did not find the bug")
endif()
if(NOT result EQUAL 1)
  message(FATAL_ERROR "the worlds were not played: ${result}\n${output}")
endif()
string(FIND "${output}" "invariant: ${INVARIANT}" at)
if(at EQUAL -1)
  message(FATAL_ERROR "another invariant broke than \"${INVARIANT}\"\n${output}")
endif()
message(STATUS "caught: ${output}")
