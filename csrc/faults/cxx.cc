// What a C++ exception was, in words. A library of its own, loaded by the core when the first
// exception arrives, so that programs without C++ never load libstdc++. The core calls it as a
// guarded call: what() is the thrower's code and may itself crash or throw.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <exception>
#include <string>
#include <typeinfo>

namespace {

void copy(char *to, const char *from, unsigned size) { std::snprintf(to, size, "%s", from); }

void name_type(char *to, unsigned size) {
    const std::type_info *type = abi::__cxa_current_exception_type();
    if (type == nullptr) {
        return;
    }
    int status = 0;
    char *readable = abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
    copy(to, readable != nullptr ? readable : type->name(), size);
    std::free(readable);
}

void rethrow_and_read(char *to, unsigned size) {
    try {
        throw;
    } catch (const std::exception &caught) {
        copy(to, caught.what(), size);
    } catch (const std::string &text) {
        copy(to, text.c_str(), size);
    } catch (const char *text) {
        copy(to, text, size);
    } catch (long value) {
        std::snprintf(to, size, "%ld", value);
    } catch (int value) {
        std::snprintf(to, size, "%d", value);
    } catch (...) {
    }
}

} // namespace

extern "C" void aionif_describe_cxx(void *exception, char *type_name, char *reason, unsigned size) {
    abi::__cxa_begin_catch(exception);
    name_type(type_name, size);
    rethrow_and_read(reason, size);
    abi::__cxa_end_catch();
}
