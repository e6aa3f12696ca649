// SPDX-License-Identifier: Apache-2.0
// One member of a group: a thread polls all the while, keeps what came, and does what it is asked for between two polls, because a
// consumer may be used by one thread only. What each request means stands in clients/line_program.py (LineMember).

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Queue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

final class Member {
    private static final Duration POLL = Duration.ofMillis(50);
    private static final Map<String, String> ASSIGNORS = Map.of(
        "range", RangeAssignor.class.getName(),
        "roundrobin", RoundRobinAssignor.class.getName(),
        "sticky", StickyAssignor.class.getName(),
        "cooperative-sticky", CooperativeStickyAssignor.class.getName());

    private interface Asked {
        void with(KafkaConsumer<byte[], byte[]> consumer);
    }

    private record Task(Asked asked, CompletableFuture<Void> done) {}

    private final KafkaConsumer<byte[], byte[]> consumer;
    private final BlockingQueue<Task> tasks = new LinkedBlockingQueue<>();
    private final Queue<ConsumerRecord<byte[], byte[]>> came = new ArrayDeque<>();
    private int changes;
    private boolean over;

    Member(String address, JsonNode request) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        settings.put("group.id", request.get("group").asText());
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        settings.put("session.timeout.ms", request.get("session_ms").asText());
        settings.put("heartbeat.interval.ms", "500");
        if (!request.get("instance").isNull()) {
            settings.put("group.instance.id", request.get("instance").asText());
        }
        if (!request.get("assignor").isNull()) {
            settings.put("partition.assignment.strategy", ASSIGNORS.get(request.get("assignor").asText()));
        }
        consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        List<String> topics = new ArrayList<>();
        request.get("topics").forEach(each -> topics.add(each.asText()));
        consumer.subscribe(topics, new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> partitions) {}

            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                changes++;
            }
        });
        Thread thread = new Thread(this::poll, "member");
        thread.setDaemon(true);
        thread.start();
    }

    private void poll() {
        while (!over) {
            Task task = tasks.poll();
            if (task != null) {
                try {
                    task.asked.with(consumer);
                    task.done.complete(null);
                } catch (RuntimeException error) {
                    task.done.completeExceptionally(error);
                }
                continue;
            }
            try {
                var records = consumer.poll(POLL);
                synchronized (came) {
                    records.forEach(came::add);
                    came.notifyAll();
                }
            } catch (KafkaException error) {
                // What a member sees now and then, such as being fenced, is told to whoever asks it for something.
                System.err.println(error);
            }
        }
    }

    private void ask(Asked asked) throws Exception {
        Task task = new Task(asked, new CompletableFuture<>());
        tasks.add(task);
        task.done.get();
    }

    ObjectNode answer(JsonNode request, ObjectNode answer) throws Exception {
        switch (request.get("do").asText()) {
            case "member_take" -> take(request, answer.putArray("records"));
            case "assigned" -> ask(inner -> {
                ArrayNode partitions = answer.putArray("partitions");
                inner.assignment().forEach(each -> partitions.addArray().add(each.topic()).add(each.partition()));
                answer.put("changes", changes);
            });
            case "commit" -> {
                Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                for (JsonNode each : request.get("offsets")) {
                    TopicPartition place = new TopicPartition(each.get(0).asText(), each.get(1).asInt());
                    offsets.put(place, new OffsetAndMetadata(each.get(2).asLong()));
                }
                ask(inner -> inner.commitSync(offsets));
            }
            case "seek" -> ask(inner -> inner.seek(Client.place(request), request.get("number").asLong()));
            case "pause" -> ask(inner -> inner.pause(List.of(Client.place(request))));
            case "resume" -> ask(inner -> inner.resume(List.of(Client.place(request))));
            case "leave" -> ask(inner -> {
                over = true;
                inner.close();
            });
            default -> throw new IllegalArgumentException("cannot do " + request.get("do"));
        }
        return answer;
    }

    private void take(JsonNode request, ArrayNode records) throws InterruptedException {
        int count = request.get("count").asInt();
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(request.get("deadline_ms").asLong());
        synchronized (came) {
            while (came.isEmpty()) {
                long left = TimeUnit.NANOSECONDS.toMillis(end - System.nanoTime());
                if (left <= 0) {
                    return;
                }
                came.wait(left);
            }
            while (records.size() < count && !came.isEmpty()) {
                Client.add(records, came.remove());
            }
        }
    }
}
