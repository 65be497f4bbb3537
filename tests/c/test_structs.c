/* Structs of floating-point numbers alone: x86-64 passes and returns the larger ones in memory, while
 * aarch64 keeps up to four numbers in vector registers, whatever their size. Each kind is passed, on
 * the stack too, and returned through the thunk inline, and returned through a pool, where the
 * result waits in a record for its replay. */
#include "pool.h"

#if defined(__aarch64__)
enum { NUMBERS_IN_REGISTERS = 4 };
#else
enum { NUMBERS_IN_REGISTERS = 0 };
#endif
enum { BYTES_IN_REGISTERS = 16 };

static uint32_t result_memory(size_t size, int count) {
    bool in_registers = count <= NUMBERS_IN_REGISTERS || size <= BYTES_IN_REGISTERS;
    return in_registers ? 0 : (uint32_t)size;
}

static void pending(void) {
    CHECK_EQUAL(slot->outcome, AIONIF_PENDING);
    uint64_t call = slot->call;
    CHECK_EQUAL(pool_wait(call, 10000), AIONIF_EVENT_RETURNED);
    slot->replay = call;
}

/* Three arguments of a kind are more than there are registers for, but of the smallest. */
#define KIND(name, number, count)                                                                  \
    typedef struct {                                                                               \
        number part[count];                                                                        \
    } name;                                                                                        \
    typedef name name##_turn_type(name, int, name, double, name, ...);                             \
    typedef name name##_make_type(int, ...);                                                       \
    static name name##_turn(name a, int by, name b, double factor, name c) {                       \
        name turned;                                                                               \
        for (int i = 0; i < (count); i++) {                                                        \
            turned.part[i] = a.part[(i + by) % (count)] + (number)factor * b.part[i] -             \
                             c.part[(count) - 1 - i] / 4;                                          \
        }                                                                                          \
        return turned;                                                                             \
    }                                                                                              \
    static name name##_make(int start) {                                                           \
        name made;                                                                                 \
        for (int i = 0; i < (count); i++) {                                                        \
            made.part[i] = (number)(start + i) / 8;                                                \
        }                                                                                          \
        return made;                                                                               \
    }                                                                                              \
    static bool name##_equal(name a, name b) {                                                     \
        bool equal = true;                                                                         \
        for (int i = 0; i < (count); i++) {                                                        \
            equal &= a.part[i] == b.part[i];                                                       \
        }                                                                                          \
        return equal;                                                                              \
    }                                                                                              \
    static void name##_inline(void) {                                                              \
        name a = name##_make(3), b = name##_make(50), c = name##_make(700);                        \
        door_inline(name##_turn);                                                                  \
        name got = THROUGH(name##_turn_type)(a, 2, b, .5, c);                                      \
        CHECK_EQUAL(slot->outcome, AIONIF_RETURNED);                                               \
        CHECK(name##_equal(got, name##_turn(a, 2, b, .5, c)));                                     \
    }                                                                                              \
    static void name##_pooled(struct aionif_pool *pool, int watch) {                               \
        struct pool_request *request = pool_request_of(pool, name##_make);                         \
        request->plan.result_memory = result_memory(sizeof(name), count);                          \
        request->target.watch = watch;                                                             \
        for (int i = 0; i < 10; i++) {                                                             \
            slot->target = &request->target;                                                       \
            name got = THROUGH(name##_make_type)(i);                                               \
            if (!watch || slot->outcome == AIONIF_PENDING) {                                       \
                pending();                                                                         \
                got = THROUGH(name(void))();                                                       \
            }                                                                                      \
            CHECK(name##_equal(got, name##_make(i)));                                              \
        }                                                                                          \
    }                                                                                              \
    static void name##_test(struct aionif_pool *pool) {                                            \
        check_case("struct { " #number " part[" #count "]; }");                                    \
        name##_inline();                                                                           \
        name##_pooled(pool, 0);                                                                    \
        name##_pooled(pool, 1);                                                                    \
    }

KIND(float_1, float, 1)
KIND(float_2, float, 2)
KIND(float_3, float, 3)
KIND(float_4, float, 4)
KIND(float_5, float, 5)
KIND(double_1, double, 1)
KIND(double_2, double, 2)
KIND(double_3, double, 3)
KIND(double_4, double, 4)
KIND(double_5, double, 5)
/* One alone comes back in a register of the x87, on x86-64; test_invoke.c has that. */
KIND(extended_2, long double, 2)
KIND(extended_3, long double, 3)
KIND(extended_4, long double, 4)
KIND(extended_5, long double, 5)

int main(void) {
    check_deadline(60);
    slot_start();
    struct aionif_pool *pool = pool_open(pool_settings(1));
    float_1_test(pool);
    float_2_test(pool);
    float_3_test(pool);
    float_4_test(pool);
    float_5_test(pool);
    double_1_test(pool);
    double_2_test(pool);
    double_3_test(pool);
    double_4_test(pool);
    double_5_test(pool);
    extended_2_test(pool);
    extended_3_test(pool);
    extended_4_test(pool);
    extended_5_test(pool);
    CHECK(pool_close(pool));
    return check_report();
}
