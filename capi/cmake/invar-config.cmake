# find_package(invar) defines invar::invar, and invar::static where the archive is installed.
get_filename_component(_invar_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(_invar_include "${_invar_prefix}/include")
set(_invar_keep -Wl,-u,invar_load)

if(NOT TARGET invar::invar)
  add_library(invar::invar SHARED IMPORTED)
  set_target_properties(invar::invar PROPERTIES
    IMPORTED_LOCATION "${CMAKE_CURRENT_LIST_DIR}/../../libinvar.so"
    IMPORTED_SONAME libinvar.so.0
    INTERFACE_INCLUDE_DIRECTORIES "${_invar_include}"
    # Programs refer to it weakly: its constructor is what is wanted.
    INTERFACE_LINK_OPTIONS "-Wl,--no-as-needed")
  if(EXISTS "${CMAKE_CURRENT_LIST_DIR}/../../libinvar.a")
    add_library(invar::static STATIC IMPORTED)
    set_target_properties(invar::static PROPERTIES
      IMPORTED_LOCATION "${CMAKE_CURRENT_LIST_DIR}/../../libinvar.a"
      INTERFACE_INCLUDE_DIRECTORIES "${_invar_include}"
      INTERFACE_LINK_OPTIONS "${_invar_keep}")
  endif()
endif()
set(invar_FOUND TRUE)
