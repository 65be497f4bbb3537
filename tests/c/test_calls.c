/* Calls as the submitting side keeps them: ids that are never taken for another's, queues, and the
 * heap of deadlines, each against a model too simple to be wrong. */
#include "check.h"
#include "lanes/call.h"

enum { MODEL = 600 }; /* more than two chunks of calls */

static uint64_t seed = 88172645463325252;
static uint64_t below(uint64_t bound) { return check_random(&seed) % bound; }

static struct aionif__call *live[MODEL];
static int live_count;

static struct aionif__call *take(void) {
    struct aionif__call *call = aionif__call_take();
    call->stage = AIONIF__WAITING;
    return call;
}

static void test_ids(void) {
    check_case("ids");
    enum { PAST = 4096 };
    static uint64_t past[PAST];
    int past_count = 0;
    CHECK(aionif__call_find(0) == NULL);
    CHECK(aionif__call_find(1) == NULL);
    for (int step = 0; step < 50000; step++) {
        if (live_count < MODEL && (live_count == 0 || below(2))) {
            struct aionif__call *call = take();
            for (int i = 0; i < live_count; i++) {
                if (live[i] == call || live[i]->id == call->id) {
                    CHECK_EQUAL(live[i]->id, 0);
                }
            }
            CHECK(call->id >> 56 == 0 && call->deadline_index == 0 && call->words == NULL);
            live[live_count++] = call;
        } else {
            int at = (int)below((uint64_t)live_count);
            past[past_count++ % PAST] = live[at]->id;
            aionif__call_free(live[at]);
            live[at] = live[--live_count];
        }
        if (past_count) {
            int known = past_count < PAST ? past_count : PAST;
            CHECK(aionif__call_find(past[below((uint64_t)known)]) == NULL);
        }
        if (live_count) {
            struct aionif__call *call = live[below((uint64_t)live_count)];
            CHECK(aionif__call_find(call->id) == call);
        }
        if (check_case_failures) {
            break;
        }
    }
    while (live_count) {
        aionif__call_free(live[--live_count]);
    }
    CHECK(aionif__call_find((uint64_t)1 << 32 | 0xffffffff) == NULL);
    CHECK(aionif__call_at(0) != NULL && aionif__call_at(1 << 30) == NULL);
}

static void test_words(void) {
    check_case("stack words");
    uint64_t words[100];
    for (uint64_t i = 0; i < 100; i++) {
        words[i] = i * 7;
    }
    for (uint32_t count = 0; count <= 100; count++) {
        struct aionif__call *call = take();
        CHECK(aionif__call_keep_words(call, words, count));
        CHECK(call->word_count == count);
        CHECK(memcmp(call->words, words, count * sizeof *words) == 0);
        aionif__call_free(call);
    }
}

static void test_queue(void) {
    check_case("a queue");
    struct aionif__queue queue = {0};
    for (int step = 0; step < 20000; step++) {
        uint64_t what = live_count == 0 ? 0 : live_count == MODEL ? 2 : below(3);
        if (what == 0) {
            aionif__queue_append(&queue, live[live_count++] = take());
        } else if (what == 1) {
            memmove(live + 1, live, (size_t)live_count++ * sizeof *live);
            aionif__queue_prepend(&queue, live[0] = take());
        } else {
            int at = (int)below((uint64_t)live_count);
            aionif__queue_remove(live[at]);
            CHECK(live[at]->queue == NULL);
            aionif__call_free(live[at]);
            memmove(live + at, live + at + 1, (size_t)(--live_count - at) * sizeof *live);
        }
        CHECK_EQUAL(queue.length, live_count);
        CHECK(queue.first == (live_count ? live[0] : NULL));
        CHECK(queue.last == (live_count ? live[live_count - 1] : NULL));
        if (step % 100 == 0) {
            int at = 0;
            for (struct aionif__call *call = queue.first; call; call = call->next) {
                CHECK(call == live[at++]);
            }
            for (struct aionif__call *call = queue.last; call; call = call->previous) {
                CHECK(call == live[--at]);
            }
        }
    }
    while (live_count) {
        aionif__queue_remove(live[--live_count]);
        aionif__call_free(live[live_count]);
    }
}

static int64_t earliest(void) {
    int64_t least = INT64_MAX;
    for (int i = 0; i < live_count; i++) {
        least = live[i]->deadline_ns < least ? live[i]->deadline_ns : least;
    }
    return least;
}

static void test_deadlines(void) {
    check_case("the heap of deadlines");
    CHECK(aionif__deadline_first() == NULL);
    for (int step = 0; step < 50000 && !check_case_failures; step++) {
        bool growing = step / 5000 % 2 == 0; /* up to many and down to none, in turns */
        if (live_count < MODEL && (live_count == 0 || below(10) < (growing ? 7 : 3))) {
            struct aionif__call *call = take();
            call->deadline_ns = 1 + (int64_t)below(below(2) ? 50 : 1000000); /* many are equal */
            CHECK(aionif__deadline_add(call));
            live[live_count++] = call;
        } else {
            int at = (int)below((uint64_t)live_count);
            aionif__deadline_remove(live[at]);
            CHECK_EQUAL(live[at]->deadline_index, 0);
            aionif__deadline_remove(live[at]); /* twice is once */
            aionif__call_free(live[at]);
            live[at] = live[--live_count];
        }
        struct aionif__call *first = aionif__deadline_first();
        CHECK_EQUAL(first != NULL, live_count > 0);
        CHECK_EQUAL(first ? first->deadline_ns : INT64_MAX, earliest());
    }
    int64_t last = 0;
    for (struct aionif__call *call; (call = aionif__deadline_first()); live_count--) {
        CHECK(call->deadline_ns >= last);
        last = call->deadline_ns;
        aionif__deadline_remove(call);
        aionif__call_free(call);
    }
    CHECK_EQUAL(live_count, 0);
}

int main(void) {
    check_deadline(60);
    test_ids();
    test_words();
    test_queue();
    test_deadlines();
    return check_report();
}
