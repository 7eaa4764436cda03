# What `make install` puts where: the programs, the library (shared and static) with headers and leco.pc, man pages, and
# docs, examples, a model and its probe in one folder, so that the paths in them hold there as they do in the source
# tree.

# Only leco.h's functions are visible in it. Until 1.0 any minor version may change them.
add_library(leco_shared SHARED ${LECO_OBJECTS})
set_target_properties(leco_shared PROPERTIES OUTPUT_NAME leco VERSION ${PROJECT_VERSION}
                                             SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
target_link_libraries(leco_shared PRIVATE leco_flags ${LECO_LIBRARIES})
# C++'s templates are visible whatever the compiler is told.
set(leco_map ${PROJECT_SOURCE_DIR}/cmake/leco.map)
target_link_options(leco_shared PRIVATE -Wl,--version-script=${leco_map})
set_target_properties(leco_shared PROPERTIES LINK_DEPENDS ${leco_map})

# An archive has no insides: every function that one of its files shares with another could collide with the user's own.
# So it holds a single object, in which all but leco.h's functions are local.
set(static_library ${PROJECT_BINARY_DIR}/libleco.a)
add_custom_command(
    OUTPUT ${static_library}
    COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -o leco.o -Wl,--force-group-allocation -Wl,--whole-archive
            $<TARGET_FILE:leco_lib> -Wl,--no-whole-archive ${LECO_CUDA_ARCHIVE}
    COMMAND ${CMAKE_OBJCOPY} --localize-hidden --wildcard --keep-global-symbol=leco_* leco.o
    COMMAND ${CMAKE_COMMAND} -E rm -f ${static_library}
    COMMAND ${CMAKE_AR} rcs ${static_library} leco.o
    COMMAND ${CMAKE_COMMAND} -E rm -f leco.o
    DEPENDS leco_lib
    VERBATIM)
add_custom_target(leco_static ALL DEPENDS ${static_library})
add_custom_target(leco_install DEPENDS leco leco-probe leco_shared leco_static) # all that installing takes

# leco.pc finds everything from where it lies itself, so that PREFIX and DESTDIR may be chosen when installing.
set(pc_folder ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH pc_prefix /prefix/${pc_folder} /prefix)
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
get_filename_component(dnnl_folder ${DNNL_LIBRARY} DIRECTORY)
set(pc_private "-ldnnl")
if(NOT dnnl_folder IN_LIST CMAKE_C_IMPLICIT_LINK_DIRECTORIES)
    set(pc_private "-L${dnnl_folder} -ldnnl")
endif()
foreach(name ${OpenMP_C_LIB_NAMES})
    string(APPEND pc_private " -l${name}")
endforeach()
string(APPEND pc_private " -lstdc++")
if(LECO_CUDA_BUILT)
    string(APPEND pc_private " -ldl -lrt -lpthread")
endif()
list(JOIN LECO_PACKAGES " " pc_packages)
configure_file(cmake/leco.pc.in leco.pc @ONLY)

install(TARGETS leco leco-probe leco_shared)
install(FILES ${static_library} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/leco DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_BINARY_DIR}/leco.pc DESTINATION ${pc_folder})
install(FILES LICENSE README.md CHANGELOG.md CONTRIBUTING.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs examples DESTINATION ${CMAKE_INSTALL_DOCDIR} USE_SOURCE_PERMISSIONS)
install(DIRECTORY models/shapes models/shapes-v models/shapes-probe DESTINATION ${CMAKE_INSTALL_DOCDIR}/models)

# The man pages are what --help says, so they need a program that runs here.
if(NOT CMAKE_CROSSCOMPILING)
    set(man_folder ${PROJECT_BINARY_DIR}/man)
    add_custom_command(
        OUTPUT ${man_folder}/leco.1
        COMMAND ${PROJECT_SOURCE_DIR}/scripts/make-man $<TARGET_FILE:leco> $<TARGET_FILE:leco-probe> ${man_folder}
        DEPENDS leco leco-probe scripts/make-man
        VERBATIM)
    add_custom_target(leco_man ALL DEPENDS ${man_folder}/leco.1)
    add_dependencies(leco_install leco_man)
    install(DIRECTORY ${man_folder}/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()
