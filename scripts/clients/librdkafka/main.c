/* librdkafka in C, Debian's package; what a client program does is told in ../README.md. */
#include <librdkafka/rdkafka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int acknowledged, failed;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque) {
    (void)rk, (void)opaque;
    int n = (int)(intptr_t)m->_private;
    if (m->err) {
        failed++;
        printf("failed %d %s\n", n, rd_kafka_err2str(m->err));
    } else {
        acknowledged++;
        printf("ack %d %d %lld\n", n, m->partition, (long long)m->offset);
    }
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "%s\n", why);
        exit(1);
    }
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf, const char *bootstrap) {
    char why[256];
    set(conf, "bootstrap.servers", bootstrap);
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);
    if (!rk) {
        fprintf(stderr, "%s\n", why);
        exit(1);
    }
    return rk;
}

static void produce(const char *bootstrap, const char *topic, int producer_number, int count, int rate) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf, bootstrap);
    char key[16], value[256], filler[101];
    memset(filler, 'x', 100);
    filler[100] = 0;
    double begin = now(), wait;
    for (int n = 0; n < count; n++) {
        while ((wait = begin + (double)n / rate - now()) > 0) rd_kafka_poll(rk, (int)(wait * 1000) + 1);
        int key_len = snprintf(key, sizeof key, "%d", n % 24);
        int value_len = snprintf(value, sizeof value, "%d:%s:%d:%s", producer_number, key, n, filler);
        rd_kafka_resp_err_t error = rd_kafka_producev(
            rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY(key, (size_t)key_len), RD_KAFKA_V_VALUE(value, (size_t)value_len),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_OPAQUE((void *)(intptr_t)n), RD_KAFKA_V_END);
        if (error) printf("failed %d %s\n", n, rd_kafka_err2str(error)), failed++;
    }
    rd_kafka_flush(rk, 1000 * 1000);
    rd_kafka_destroy(rk);
    printf("{\"client\": \"librdkafka\", \"version\": \"%s\", \"sent\": %d, \"acknowledged\": %d, \"failed\": %d}\n",
           rd_kafka_version_str(), count, acknowledged, failed);
}

static void consume(const char *bootstrap, const char *topic, int partitions, int count) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    /* It insists on a group's name, which nothing uses here, and would commit to it. */
    set(conf, "group.id", "unused");
    set(conf, "enable.auto.commit", "false");
    rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, conf, bootstrap);
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(partitions);
    for (int p = 0; p < partitions; p++) rd_kafka_topic_partition_list_add(all, topic, p)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(rk, all);
    /* Numbers of up to 8 producers, `count` at most for each. */
    char *seen = calloc((size_t)count * 8, 1);
    int distinct = 0, consumed = 0, producer_number, key, n;
    while (distinct < count) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 1000);
        if (!m) continue;
        if (m->err) {
            printf("error %s\n", rd_kafka_message_errstr(m));
        } else if (sscanf(m->payload, "%d:%d:%d:", &producer_number, &key, &n) == 3 && n < count && producer_number < 8) {
            char *mark = &seen[producer_number * count + n];
            distinct += !*mark;
            *mark = 1;
            consumed++;
            printf("record %d %lld %.*s %.*s\n", m->partition, (long long)m->offset, (int)m->key_len, (char *)m->key, (int)m->len,
                   (char *)m->payload);
        }
        rd_kafka_message_destroy(m);
    }
    rd_kafka_consumer_close(rk);
    rd_kafka_topic_partition_list_destroy(all);
    rd_kafka_destroy(rk);
    printf("{\"client\": \"librdkafka\", \"version\": \"%s\", \"consumed\": %d}\n", rd_kafka_version_str(), consumed);
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!strcmp(argv[1], "produce") && argc == 8)
        produce(argv[2], argv[3], atoi(argv[5]), atoi(argv[6]), atoi(argv[7]));
    else
        consume(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]));
    return 0;
}
