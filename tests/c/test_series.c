/* Which bucket a duration falls into, and that a call is counted once. */
#include "check.h"
#include "lanes/series.h"

static void test_bounds_belong_to_their_bucket(void) {
    check_case("the upper bound of a bucket belongs to it");
    CHECK(aionif__bucket_of(-1) == 0);
    CHECK(aionif__bucket_of(0) == 0);
    CHECK(aionif__bucket_of(128) == 0);
    CHECK(aionif__bucket_of(129) == 1);
    CHECK(aionif__bucket_of(160) == 1);
    CHECK(aionif__bucket_of(161) == 2);
    CHECK(aionif__bucket_of(256) == 4);
    CHECK(aionif__bucket_of(257) == 5);
    CHECK(aionif__bucket_of((int64_t)1 << 37) == AIONIF_BUCKETS - 2);
    CHECK(aionif__bucket_of(((int64_t)1 << 37) + 1) == AIONIF_BUCKETS - 1);
    CHECK(aionif__bucket_of(INT64_MAX) == AIONIF_BUCKETS - 1);
}

static void test_buckets_grow_with_the_duration(void) {
    check_case("buckets grow with the duration");
    uint32_t last = 0;
    for (int64_t ns = 1; ns < (int64_t)1 << 40; ns += ns / 16 + 1) {
        uint32_t bucket = aionif__bucket_of(ns);
        CHECK(bucket == last || bucket == last + 1);
        last = bucket;
    }
}

static void test_the_first_to_settle_is_right(void) {
    check_case("the first to settle is right");
    static struct aionif_series series;
    struct aionif__call call = {.series = &series};
    aionif__settle(&call, AIONIF_FATE_TIMED_OUT);
    aionif__settle(&call, AIONIF_FATE_RETURNED);
    CHECK(series.fates[AIONIF_FATE_TIMED_OUT] == 1);
    CHECK(series.fates[AIONIF_FATE_RETURNED] == 0);
    struct aionif__call uncounted = {.series = NULL};
    aionif__settle(&uncounted, AIONIF_FATE_RETURNED);
}

int main(void) {
    check_deadline(30);
    test_bounds_belong_to_their_bucket();
    test_buckets_grow_with_the_duration();
    test_the_first_to_settle_is_right();
    return check_report();
}
