// Finds libvsoa-tls.so. A file of its own, which libvsoa.a hands out only to who asks for it (-u libvsoa_load): a
// program that is linked statically cannot load anything, and should not be warned of that by the linker.
#include <dlfcn.h>

extern "C" void* libvsoa_load(const char* file, const char* symbol, bool* found) noexcept {
    // Never unloaded: threads of streams run in it, and so does what OpenSSL does at the end of the process.
    void* const handle = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    *found = handle != nullptr;
    return *found ? dlsym(handle, symbol) : nullptr;
}
