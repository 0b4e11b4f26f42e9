# The least that runs containers on a few gateways: one plugin of each role that is needed.
#     cmake --install build/release --component minimal --strip --prefix /usr
set(gantry_minimal directory_vsoa discovery_static frontend_http placement_least-loaded runtime_oci store_sqlite transport_vsoa)
install(TARGETS gantryd gantry RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT minimal EXCLUDE_FROM_ALL)
install(TARGETS gantry-guard RUNTIME DESTINATION lib/gantry COMPONENT minimal EXCLUDE_FROM_ALL)
install(TARGETS gantry-unpack RUNTIME DESTINATION lib/gantry/plugins/runtime COMPONENT minimal EXCLUDE_FROM_ALL)
foreach(plugin ${gantry_minimal})
  string(REGEX REPLACE "_.*" "" role ${plugin})
  install(TARGETS plugin_${plugin} LIBRARY DESTINATION lib/gantry/plugins/${role} COMPONENT minimal EXCLUDE_FROM_ALL)
endforeach()
install(CODE "${GANTRY_INSTALL_PLUGIN_LIST}" COMPONENT minimal EXCLUDE_FROM_ALL)
