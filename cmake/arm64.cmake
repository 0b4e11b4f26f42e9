# Toolchain file: for arm64, with Debian's cross compiler and arm64 libraries, as tests/packages/arm64.py builds the tests in the
# tree of kernel/packaging/cross. (debhelper says the same itself when it builds the packages.)
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static)
set(PKG_CONFIG_EXECUTABLE /usr/bin/aarch64-linux-gnu-pkg-config)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
