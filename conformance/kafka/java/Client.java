// SPDX-License-Identifier: Apache-2.0
// The Java client behind one JSON request a line (clients/line_program.py says what each means).

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Queue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

public final class Client {
    private static final ObjectMapper JSON = new ObjectMapper();
    // A fetch that waits at the end of a partition is no reason to wait for it.
    private static final CloseOptions NO_WAIT = CloseOptions.timeout(Duration.ofMillis(50));

    // As DescribeConfigs numbers them.
    private static final Map<ConfigEntry.ConfigSource, Integer> SOURCES = Map.of(
        ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, 1,
        ConfigEntry.ConfigSource.DYNAMIC_BROKER_CONFIG, 2,
        ConfigEntry.ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG, 3,
        ConfigEntry.ConfigSource.STATIC_BROKER_CONFIG, 4,
        ConfigEntry.ConfigSource.DEFAULT_CONFIG, 5);

    private static final class Sender {
        final KafkaProducer<byte[], byte[]> inner;
        final List<Future<RecordMetadata>> sent = new ArrayList<>();

        Sender(KafkaProducer<byte[], byte[]> inner) {
            this.inner = inner;
        }
    }

    private static final class Taker {
        final KafkaConsumer<byte[], byte[]> inner;
        // One poll may bring more than was asked for.
        final Queue<ConsumerRecord<byte[], byte[]>> left = new ArrayDeque<>();

        Taker(KafkaConsumer<byte[], byte[]> inner) {
            this.inner = inner;
        }
    }

    private final String address;
    private final Map<String, Sender> senders = new HashMap<>();
    private final Map<String, Taker> takers = new HashMap<>();
    private Admin admin;
    // At most one in a process.
    private Member member;

    private Client(String address) {
        this.address = address;
    }

    public static void main(String[] arguments) throws Exception {
        Client client = new Client(arguments[0]);
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream answers = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        String line;
        while ((line = requests.readLine()) != null) {
            ObjectNode answer;
            try {
                answer = client.answer(JSON.readTree(line));
            } catch (Exception error) {
                answer = refused(error);
            }
            answers.println(JSON.writeValueAsString(answer));
            answers.flush();
        }
        client.close();
    }

    private static ObjectNode refused(Throwable error) {
        Throwable cause = error instanceof ExecutionException && error.getCause() != null ? error.getCause() : error;
        ObjectNode answer = JSON.createObjectNode();
        // The consumer has an exception of its own for this one.
        Errors known = cause instanceof OffsetOutOfRangeException ? Errors.OFFSET_OUT_OF_RANGE : Errors.forException(cause);
        answer.put("code", known.code());
        answer.put("error", cause.toString());
        return answer;
    }

    private ObjectNode answer(JsonNode request) throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        switch (request.get("do").asText()) {
            case "version" -> answer.put("version", AppInfoParser.getVersion());
            case "create_topic" -> {
                Map<String, String> settings = new HashMap<>();
                request.get("settings").properties().forEach(each -> settings.put(each.getKey(), each.getValue().asText()));
                NewTopic topic = new NewTopic(request.get("topic").asText(), request.get("partitions").asInt(), (short) 1);
                admin().createTopics(List.of(topic.configs(settings))).all().get();
            }
            case "delete_topic" -> admin().deleteTopics(List.of(request.get("topic").asText())).all().get();
            case "topics" -> {
                ArrayNode topics = answer.putArray("topics");
                admin().listTopics().names().get().forEach(topics::add);
            }
            case "open_producer" -> senders.put(request.get("producer").asText(), openProducer(request));
            case "send" -> send(senders.get(request.get("producer").asText()), request.get("records"));
            case "flush" -> flush(senders.get(request.get("producer").asText()), request.get("deadline_ms").asLong(), answer);
            case "close_producer" -> senders.remove(request.get("producer").asText()).inner.close(Duration.ofSeconds(10));
            case "open_reader" -> takers.put(request.get("reader").asText(), openReader(request));
            case "take" -> take(takers.get(request.get("reader").asText()), request, answer);
            case "close_reader" -> takers.remove(request.get("reader").asText()).inner.close(NO_WAIT);
            case "offsets" -> {
                try (KafkaConsumer<byte[], byte[]> consumer = consumer(500, "read_uncommitted")) {
                    TopicPartition place = place(request);
                    answer.put("earliest", consumer.beginningOffsets(List.of(place)).get(place));
                    answer.put("latest", consumer.endOffsets(List.of(place)).get(place));
                }
            }
            case "offset_at" -> {
                try (KafkaConsumer<byte[], byte[]> consumer = consumer(500, "read_uncommitted")) {
                    answer.put("offset", offsetAt(consumer, place(request), request.get("timestamp_ms").asLong()).orElse(null));
                }
            }
            case "max_timestamp_offset" -> {
                TopicPartition place = place(request);
                answer.put("offset", admin().listOffsets(Map.of(place, OffsetSpec.maxTimestamp())).all().get().get(place).offset());
            }
            case "join" -> member = new Member(address, request);
            case "member_take", "assigned", "commit", "seek", "pause", "resume", "leave" -> member.answer(request, answer);
            case "describe_configs" -> {
                ConfigResource resource = resource(request);
                ObjectNode configs = answer.putObject("configs");
                for (ConfigEntry entry : admin().describeConfigs(List.of(resource)).all().get().get(resource).entries()) {
                    configs.putArray(entry.name()).add(entry.value()).add(SOURCES.get(entry.source()));
                }
            }
            case "alter_configs" -> {
                List<AlterConfigOp> changes = new ArrayList<>();
                request.get("settings").properties().forEach(each -> {
                    boolean back = each.getValue().isNull();
                    ConfigEntry entry = new ConfigEntry(each.getKey(), back ? null : each.getValue().asText());
                    changes.add(new AlterConfigOp(entry, back ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET));
                });
                admin().incrementalAlterConfigs(Map.of(resource(request), changes)).all().get();
            }
            case "create_partitions" -> {
                NewPartitions count = NewPartitions.increaseTo(request.get("count").asInt());
                admin().createPartitions(Map.of(request.get("topic").asText(), count)).all().get();
            }
            case "delete_records" -> {
                TopicPartition place = place(request);
                RecordsToDelete before = RecordsToDelete.beforeOffset(request.get("before").asLong());
                answer.put("low", admin().deleteRecords(Map.of(place, before)).lowWatermarks().get(place).get().lowWatermark());
            }
            case "groups" -> {
                ArrayNode groups = answer.putArray("groups");
                admin().listGroups().all().get().forEach(each -> groups.add(each.groupId()));
            }
            case "describe_group" -> {
                String group = request.get("group").asText();
                ConsumerGroupDescription told = admin().describeConsumerGroups(List.of(group)).all().get().get(group);
                answer.put("state", told.groupState().name().toLowerCase(Locale.ROOT).replace("_", ""));
                answer.put("members", told.members().size());
            }
            case "delete_group" -> admin().deleteConsumerGroups(List.of(request.get("group").asText())).all().get();
            case "group_offsets" -> {
                ArrayNode offsets = answer.putArray("offsets");
                admin()
                    .listConsumerGroupOffsets(request.get("group").asText())
                    .partitionsToOffsetAndMetadata()
                    .get()
                    .forEach((place, each) ->
                        offsets.addArray().add(place.topic()).add(place.partition()).add(each.offset()));
            }
            case "set_group_offset" -> {
                OffsetAndMetadata offset = new OffsetAndMetadata(request.get("offset").asLong());
                admin().alterConsumerGroupOffsets(request.get("group").asText(), Map.of(place(request), offset)).all().get();
            }
            case "describe_cluster" -> {
                DescribeClusterResult told = admin().describeCluster();
                answer.put("cluster", told.clusterId().get());
                answer.put("controller", told.controller().get().id());
                ArrayNode brokers = answer.putArray("brokers");
                told.nodes().get().forEach(each -> brokers.addArray().add(each.id()).add(each.host()).add(each.port()));
            }
            default -> throw new IllegalArgumentException("cannot do " + request.get("do"));
        }
        return answer;
    }

    static TopicPartition place(JsonNode request) {
        return new TopicPartition(request.get("topic").asText(), request.get("partition").asInt());
    }

    private static ConfigResource resource(JsonNode request) {
        boolean topic = request.get("kind").asText().equals("topic");
        return new ConfigResource(topic ? ConfigResource.Type.TOPIC : ConfigResource.Type.BROKER, request.get("name").asText());
    }

    private Admin admin() {
        if (admin == null) {
            Properties settings = new Properties();
            settings.put("bootstrap.servers", address);
            admin = Admin.create(settings);
        }
        return admin;
    }

    private Sender openProducer(JsonNode request) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        settings.put("compression.type", request.get("compression").asText());
        settings.put("enable.idempotence", request.get("idempotent").asBoolean());
        settings.put("acks", request.get("acks").asText());
        settings.put("linger.ms", request.get("linger_ms").asText());
        settings.put("max.request.size", request.get("record_bytes_max").asText());
        return new Sender(new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer()));
    }

    private static void send(Sender sender, JsonNode records) throws Exception {
        for (JsonNode record : records) {
            List<Header> headers = new ArrayList<>();
            for (JsonNode header : record.get("headers")) {
                headers.add(new RecordHeader(header.get(0).asText(), bytes(header.get(1))));
            }
            Long timestamp = record.get("timestamp_ms").isNull() ? null : record.get("timestamp_ms").asLong();
            TopicPartition place = place(record);
            sender.sent.add(
                sender.inner.send(
                    new ProducerRecord<>(
                        place.topic(), place.partition(), timestamp, bytes(record.get("key")), bytes(record.get("value")), headers)));
        }
    }

    private static void flush(Sender sender, long deadlineMs, ObjectNode answer) throws Exception {
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(deadlineMs);
        ArrayNode outcomes = answer.putArray("outcomes");
        for (Future<RecordMetadata> future : sender.sent) {
            try {
                RecordMetadata told = future.get(Math.max(1, end - System.nanoTime()), TimeUnit.NANOSECONDS);
                ObjectNode outcome = outcomes.addObject();
                if (told.hasOffset()) {
                    outcome.put("offset", told.offset());
                }
            } catch (ExecutionException | TimeoutException error) {
                outcomes.add(refused(error));
            }
        }
        sender.sent.clear();
    }

    private KafkaConsumer<byte[], byte[]> consumer(int waitMs, String isolation) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "none");
        settings.put("fetch.max.wait.ms", waitMs);
        settings.put("request.timeout.ms", Math.max(30_000, waitMs + 10_000));
        settings.put("max.partition.fetch.bytes", 4 << 20);
        settings.put("isolation.level", isolation);
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private Taker openReader(JsonNode request) {
        KafkaConsumer<byte[], byte[]> consumer = consumer(request.get("wait_ms").asInt(), request.get("isolation").asText());
        TopicPartition place = place(request);
        consumer.assign(List.of(place));
        long number = request.get("number").asLong();
        switch (request.get("at").asText()) {
            case "earliest" -> consumer.seekToBeginning(List.of(place));
            case "latest" -> {
                consumer.seekToEnd(List.of(place));
                consumer.position(place);
            }
            case "offset" -> consumer.seek(place, number);
            case "time" -> {
                Optional<Long> offset = offsetAt(consumer, place, number);
                consumer.seek(place, offset.orElseGet(() -> consumer.endOffsets(List.of(place)).get(place)));
            }
            default -> throw new IllegalArgumentException("cannot start at " + request.get("at"));
        }
        return new Taker(consumer);
    }

    private static Optional<Long> offsetAt(KafkaConsumer<byte[], byte[]> consumer, TopicPartition place, long timestampMs) {
        OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(place, timestampMs)).get(place);
        return Optional.ofNullable(found).map(OffsetAndTimestamp::offset);
    }

    private static void take(Taker taker, JsonNode request, ObjectNode answer) {
        int count = request.get("count").asInt();
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(request.get("deadline_ms").asLong());
        ArrayNode records = answer.putArray("records");
        while (records.size() < count) {
            ConsumerRecord<byte[], byte[]> record = taker.left.poll();
            if (record != null) {
                add(records, record);
                continue;
            }
            long left = end - System.nanoTime();
            if (left <= 0) {
                return;
            }
            taker.inner.poll(Duration.ofNanos(left)).forEach(taker.left::add);
        }
    }

    static void add(ArrayNode records, ConsumerRecord<byte[], byte[]> record) {
        ObjectNode one = records.addObject();
        one.put("topic", record.topic());
        one.put("partition", record.partition());
        one.put("key", text(record.key()));
        one.put("value", text(record.value()));
        ArrayNode headers = one.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(text(header.value()));
        }
        one.put("timestamp_ms", record.timestamp());
        one.put("offset", record.offset());
    }

    private static byte[] bytes(JsonNode text) {
        return text.isNull() ? null : Base64.getDecoder().decode(text.asText());
    }

    private static String text(byte[] bytes) {
        return bytes == null ? null : Base64.getEncoder().encodeToString(bytes);
    }

    private void close() {
        senders.values().forEach(sender -> sender.inner.close(Duration.ofSeconds(1)));
        takers.values().forEach(taker -> taker.inner.close(NO_WAIT));
        if (admin != null) {
            admin.close(Duration.ofSeconds(1));
        }
    }
}
