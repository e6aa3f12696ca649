// SPDX-License-Identifier: Apache-2.0
//
// A Kafka client to load a broker with: one process over librdkafka, so that the client costs little beside the broker.
//
//   librdkafka produce broker=HOST:PORT topic=T partitions=P records=N bytes=B [linger_ms=5] [batch_bytes=131072] [rd.NAME=VALUE]
//   librdkafka replay  broker=...       topic=T partitions=P records=N [rd.NAME=VALUE]
//   librdkafka latency broker=...       topic=T partitions=P rate=R seconds=S warm_seconds=W bytes=B begin_ns=N slice_ms=M [rd.NAME=VALUE]
//
// It prints one line of JSON. Times of `latency` run from the moment at which a record was due to be sent, so a broker that
// stalls is charged for every record that had to wait. It sends for a slice and pauses for a slice, in turns, from begin_ns of the
// monotonic clock on: somebody else measures the bare disk in the pauses. librdkafka's own settings are given as rd.NAME=VALUE.
//
// cc -O2 -o librdkafka librdkafka.c -lrdkafka -lpthread
#define _GNU_SOURCE
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

enum { SETTINGS_MAX = 32, STRIPE_RECORDS = 64, CONSUME_BATCH = 4096, STALLS_MAX = 100, SLICES_MAX = 10000 };
// A record that took longer counts as a stall; slow records due within as much of each other are one.
static const uint64_t STALL_NS = 20000000u;

struct plan {
    const char *broker, *topic;
    long partitions, records, bytes, rate, seconds, warm_seconds, linger_ms, batch_bytes, begin_ns, slice_ms;
    const char *setting_names[SETTINGS_MAX], *setting_values[SETTINGS_MAX];
    int setting_count;
};

static _Noreturn void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(2);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double own_cpu_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK) fail(name, why);
}

static void set_number(rd_kafka_conf_t *conf, const char *name, long value) {
    char text[32];
    snprintf(text, sizeof text, "%ld", value);
    set(conf, name, text);
}

// ---- producer ----

struct acks {
    atomic_long acked, failed;
    uint64_t *times_ns; // by record, only in `latency`
    long time_count, times_max;
    uint64_t warm_until_ns;
};

static void on_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque) {
    (void)client;
    struct acks *acks = opaque;
    atomic_fetch_add_explicit(message->err ? &acks->failed : &acks->acked, 1, memory_order_relaxed);
    uint64_t due_ns = (uint64_t)(uintptr_t)message->_private;
    if (!message->err && acks->times_ns && due_ns >= acks->warm_until_ns && acks->time_count < acks->times_max)
        acks->times_ns[acks->time_count++] = now_ns() - due_ns;
}

static rd_kafka_t *producer(const struct plan *plan, struct acks *acks) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", plan->broker);
    set(conf, "enable.idempotence", "true"); // acks=all, five requests in flight, order kept
    set(conf, "queue.buffering.max.messages", "500000");
    set(conf, "queue.buffering.max.kbytes", "262144");
    set(conf, "batch.num.messages", "100000");
    set_number(conf, "linger.ms", plan->linger_ms);
    set_number(conf, "batch.size", plan->batch_bytes);
    for (int i = 0; i < plan->setting_count; i++) set(conf, plan->setting_names[i], plan->setting_values[i]);
    rd_kafka_conf_set_opaque(conf, acks);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    char why[256];
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!client) fail("producer", why);
    return client;
}

static rd_kafka_topic_t *open_topic(rd_kafka_t *client, const struct plan *plan) {
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, plan->topic, NULL);
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t error = rd_kafka_metadata(client, 0, topic, &metadata, 15000);
    if (error) fail("metadata", rd_kafka_err2str(error));
    rd_kafka_metadata_destroy(metadata);
    return topic;
}

// Bytes that no compression would shrink; the same for every record, since the broker does not look.
static unsigned char *payload(long bytes) {
    unsigned char *out = malloc((size_t)bytes + 8);
    uint64_t state = 88172645463325252u;
    for (long i = 0; i < bytes; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        out[i] = (unsigned char)state;
    }
    return out;
}

static int produce(const struct plan *plan) {
    struct acks acks = {0};
    rd_kafka_t *client = producer(plan, &acks);
    rd_kafka_topic_t *topic = open_topic(client, plan);
    unsigned char *bytes = payload(plan->bytes);
    uint64_t begin_ns = now_ns();
    double cpu = own_cpu_seconds();
    for (long i = 0; i < plan->records; i++) {
        int32_t partition = (int32_t)(i / STRIPE_RECORDS % plan->partitions);
        // The bytes stay where they are until the delivery report, so no copy is needed.
        while (rd_kafka_produce(topic, partition, 0, bytes, (size_t)plan->bytes, NULL, 0, NULL) == -1) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                fail("produce", rd_kafka_err2str(rd_kafka_last_error()));
            rd_kafka_poll(client, 5);
        }
        if (i % 1024 == 0) rd_kafka_poll(client, 0);
    }
    rd_kafka_flush(client, 180000);
    double seconds = (double)(now_ns() - begin_ns) / 1e9;
    long missing = plan->records - acks.acked;
    printf("{\"records\":%ld,\"failed\":%ld,\"seconds\":%.6f,\"client_cpu_s\":%.3f}\n", (long)acks.acked, missing, seconds,
           own_cpu_seconds() - cpu);
    return missing != 0;
}

// ---- consumer ----

static rd_kafka_t *consumer(const struct plan *plan) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", plan->broker);
    set(conf, "fetch.wait.max.ms", "100");
    set(conf, "fetch.message.max.bytes", "1048576");
    set(conf, "queued.max.messages.kbytes", "65536");
    set(conf, "check.crcs", "true");
    for (int i = 0; i < plan->setting_count; i++) set(conf, plan->setting_names[i], plan->setting_values[i]);
    char why[256];
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!client) fail("consumer", why);
    return client;
}

static rd_kafka_queue_t *consume_all(rd_kafka_t *client, const struct plan *plan, int64_t from) {
    rd_kafka_topic_t *topic = open_topic(client, plan);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    for (int32_t partition = 0; partition < plan->partitions; partition++)
        if (rd_kafka_consume_start_queue(topic, partition, from, queue) == -1)
            fail("consume", rd_kafka_err2str(rd_kafka_last_error()));
    return queue;
}

static int replay(const struct plan *plan) {
    rd_kafka_t *client = consumer(plan);
    uint64_t begin_ns = now_ns(), progress_ns = begin_ns;
    double cpu = own_cpu_seconds();
    rd_kafka_queue_t *queue = consume_all(client, plan, RD_KAFKA_OFFSET_BEGINNING);
    static rd_kafka_message_t *messages[CONSUME_BATCH];
    long records = 0, errors = 0;
    while (records < plan->records && now_ns() - progress_ns < 20000000000u) {
        ssize_t count = rd_kafka_consume_batch_queue(queue, 100, messages, CONSUME_BATCH);
        for (ssize_t i = 0; i < count; i++) {
            if (messages[i]->err) errors++;
            else records++;
            rd_kafka_message_destroy(messages[i]);
        }
        if (count > 0) progress_ns = now_ns();
    }
    double seconds = (double)(now_ns() - begin_ns) / 1e9;
    printf("{\"records\":%ld,\"failed\":%ld,\"seconds\":%.6f,\"client_cpu_s\":%.3f}\n", records, errors, seconds,
           own_cpu_seconds() - cpu);
    return records < plan->records;
}

// ---- end-to-end latency at a fixed rate ----

struct stall {
    uint64_t due_ns, last_due_ns, worst_ns;
    long records;
};

struct arrivals {
    const struct plan *plan;
    struct stall stalls[STALLS_MAX];
    long stall_count;
    uint64_t slice_worst_ns[SLICES_MAX];
    uint64_t *times_ns;
    long count, times_max;
    atomic_long received;
    atomic_uint_least64_t warm_until_ns;
    atomic_bool ready, stop;
};

static void on_message(rd_kafka_message_t *message, void *opaque) {
    struct arrivals *arrivals = opaque;
    if (message->err || message->len < 8) return;
    uint64_t due_ns, arrived_ns = now_ns();
    memcpy(&due_ns, message->payload, 8);
    atomic_fetch_add_explicit(&arrivals->received, 1, memory_order_relaxed);
    if (due_ns < arrivals->warm_until_ns || arrivals->count >= arrivals->times_max) return;
    uint64_t took_ns = arrived_ns - due_ns;
    arrivals->times_ns[arrivals->count++] = took_ns;
    const struct plan *plan = arrivals->plan;
    uint64_t slice = (due_ns - (uint64_t)plan->begin_ns) / ((uint64_t)plan->slice_ms * 2000000u);
    if (slice < SLICES_MAX && arrivals->slice_worst_ns[slice] < took_ns) arrivals->slice_worst_ns[slice] = took_ns;
    if (took_ns <= STALL_NS) return;
    struct stall *last = arrivals->stall_count ? &arrivals->stalls[arrivals->stall_count - 1] : NULL;
    if (!last || due_ns - last->last_due_ns > STALL_NS) {
        if (arrivals->stall_count == STALLS_MAX) return; // the percentiles still have it
        last = &arrivals->stalls[arrivals->stall_count++];
        *last = (struct stall){.due_ns = due_ns};
    }
    last->last_due_ns = due_ns;
    last->records++;
    if (took_ns > last->worst_ns) last->worst_ns = took_ns;
}

static void *receive(void *argument) {
    struct arrivals *arrivals = argument;
    rd_kafka_t *client = consumer(arrivals->plan);
    rd_kafka_queue_t *queue = consume_all(client, arrivals->plan, RD_KAFKA_OFFSET_END);
    uint64_t begin_ns = now_ns();
    while (!arrivals->stop) {
        rd_kafka_consume_callback_queue(queue, 50, on_message, arrivals);
        // "From the end" is resolved by a request of its own: two seconds are plenty on loopback.
        if (now_ns() - begin_ns > 2000000000u) arrivals->ready = 1;
    }
    return NULL;
}

static int by_size(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void print_times(const char *name, uint64_t *times_ns, long count) {
    qsort(times_ns, (size_t)count, sizeof *times_ns, by_size);
    static const struct { const char *name; double part; } points[] = {
        {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99_9", 0.999}, {"max", 1.0}};
    printf(",\"%s\":{\"count\":%ld", name, count);
    for (size_t i = 0; count && i < sizeof points / sizeof *points; i++)
        printf(",\"%s_ms\":%.4f", points[i].name, (double)times_ns[(long)((double)(count - 1) * points[i].part)] / 1e6);
    printf("}");
}

static int latency(const struct plan *plan) {
    prctl(PR_SET_TIMERSLACK, 1000u); // the default of 50 us would be a quarter of the gap at 5,000/s
    long times_max = plan->rate * (plan->seconds + plan->warm_seconds + 1);
    static struct arrivals arrivals;
    arrivals.plan = plan;
    arrivals.times_max = times_max;
    struct acks acks = {.times_max = times_max};
    arrivals.times_ns = calloc((size_t)times_max, sizeof(uint64_t));
    acks.times_ns = calloc((size_t)times_max, sizeof(uint64_t));
    arrivals.warm_until_ns = UINT64_MAX;
    pthread_t receiver;
    pthread_create(&receiver, NULL, receive, &arrivals);
    rd_kafka_t *client = producer(plan, &acks);
    rd_kafka_topic_t *topic = open_topic(client, plan);
    unsigned char *bytes = payload(plan->bytes);
    while (!arrivals.ready) rd_kafka_poll(client, 10);
    uint64_t begin_ns = (uint64_t)plan->begin_ns, gap_ns = 1000000000u / (uint64_t)plan->rate;
    uint64_t slice_ns = (uint64_t)plan->slice_ms * 1000000u, slice_records = slice_ns / gap_ns;
    if (now_ns() > begin_ns) fail("latency", "the agreed time to begin has passed");
    acks.warm_until_ns = begin_ns + 2 * (uint64_t)plan->warm_seconds * 1000000000u;
    arrivals.warm_until_ns = acks.warm_until_ns;
    while (now_ns() < begin_ns) rd_kafka_poll(client, 1);
    double cpu = own_cpu_seconds();
    long sent = 0, total = plan->rate * (plan->seconds + plan->warm_seconds);
    while (sent < total) {
        uint64_t slice = (uint64_t)sent / slice_records;
        uint64_t due_ns = begin_ns + slice * 2 * slice_ns + (uint64_t)sent % slice_records * gap_ns;
        rd_kafka_poll(client, 0);
        if (now_ns() < due_ns) {
            struct timespec due = {(time_t)(due_ns / 1000000000u), (long)(due_ns % 1000000000u)};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        }
        memcpy(bytes, &due_ns, 8);
        void *opaque = (void *)(uintptr_t)due_ns;
        if (rd_kafka_produce(topic, (int32_t)(sent % plan->partitions), RD_KAFKA_MSG_F_COPY, bytes, (size_t)plan->bytes, NULL,
                             0, opaque) == 0)
            sent++;
    }
    rd_kafka_flush(client, 30000);
    double seconds = (double)(now_ns() - begin_ns) / 1e9;
    uint64_t patience_ns = now_ns() + 5000000000u;
    while (arrivals.received < acks.acked && now_ns() < patience_ns) rd_kafka_poll(client, 10);
    arrivals.stop = 1;
    pthread_join(receiver, NULL);
    long missing = sent - arrivals.received;
    printf("{\"records\":%ld,\"failed\":%ld,\"missing\":%ld,\"seconds\":%.6f,\"client_cpu_s\":%.3f", sent,
           (long)acks.failed, missing, seconds, own_cpu_seconds() - cpu);
    print_times("end_to_end", arrivals.times_ns, arrivals.count);
    print_times("ack", acks.times_ns, acks.time_count);
    printf(",\"stalls\":[");
    for (long i = 0; i < arrivals.stall_count; i++) {
        const struct stall *stall = &arrivals.stalls[i];
        printf("%s{\"at_ms\":%.1f,\"ms\":%.2f,\"count\":%ld}", i ? "," : "", (double)(stall->due_ns - begin_ns) / 1e6,
               (double)stall->worst_ns / 1e6, stall->records);
    }
    printf("],\"slice_worst_ms\":[");
    for (long i = 0; i < SLICES_MAX && (uint64_t)i * slice_records < (uint64_t)total; i++)
        printf("%s%.3f", i ? "," : "", (double)arrivals.slice_worst_ns[i] / 1e6);
    printf("]}\n");
    return acks.failed != 0 || missing != 0;
}

// ---- arguments ----

static long number(const char *name, const char *value) {
    char *end;
    long result = strtol(value, &end, 10);
    if (*value == 0 || *end != 0 || result < 0) fail(name, "not a number");
    return result;
}

int main(int count, char **arguments) {
    struct plan plan = {.topic = "bench", .partitions = 1, .records = 1000, .bytes = 1024, .rate = 1000, .seconds = 10,
                        .warm_seconds = 2, .linger_ms = 5, .batch_bytes = 131072, .slice_ms = 500};
    const struct { const char *name; long *value; } numbers[] = {
        {"partitions", &plan.partitions}, {"records", &plan.records}, {"bytes", &plan.bytes}, {"rate", &plan.rate},
        {"seconds", &plan.seconds}, {"warm_seconds", &plan.warm_seconds}, {"linger_ms", &plan.linger_ms},
        {"batch_bytes", &plan.batch_bytes}, {"begin_ns", &plan.begin_ns}, {"slice_ms", &plan.slice_ms}};
    for (int i = 2; i < count; i++) {
        char *name = arguments[i], *value = strchr(name, '=');
        if (!value) fail(name, "name=value is expected");
        *value++ = 0;
        if (!strcmp(name, "broker")) plan.broker = value;
        else if (!strcmp(name, "topic")) plan.topic = value;
        else if (!strncmp(name, "rd.", 3) && plan.setting_count < SETTINGS_MAX) {
            plan.setting_names[plan.setting_count] = name + 3;
            plan.setting_values[plan.setting_count++] = value;
        } else {
            size_t n = 0;
            while (n < sizeof numbers / sizeof *numbers && strcmp(name, numbers[n].name)) n++;
            if (n == sizeof numbers / sizeof *numbers) fail(name, "unknown argument");
            *numbers[n].value = number(name, value);
        }
    }
    const char *mode = count > 1 ? arguments[1] : "";
    if (!strcmp(mode, "version")) {
        printf("%s\n", rd_kafka_version_str());
        return 0;
    }
    if (!plan.broker || !plan.partitions || !plan.rate || !plan.slice_ms || plan.bytes < 8)
        fail("arguments", "a broker, at least one partition, a rate, a slice, at least 8 bytes a record");
    if (!strcmp(mode, "produce")) return produce(&plan);
    if (!strcmp(mode, "replay")) return replay(&plan);
    if (!strcmp(mode, "latency")) return latency(&plan);
    fail("usage", "librdkafka produce|replay|latency broker=HOST:PORT topic=T ...");
}
