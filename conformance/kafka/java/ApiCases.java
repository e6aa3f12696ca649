// SPDX-License-Identifier: Apache-2.0
// What only the Java client can ask for, or says more of than the others: its consumer in groups, its Admin. One case a method, run by
// name upon one JSON request a line (java_api.py); a case passes when its method returns.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigsOptions;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.CreatePartitionsOptions;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.DescribeClusterOptions;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.DescribeConsumerGroupsOptions;
import org.apache.kafka.clients.admin.DescribeTopicsOptions;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.QuorumInfo;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicaAssignmentException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.OffsetMetadataTooLarge;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownMemberIdException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.AppInfoParser;

public final class ApiCases {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration POLL = Duration.ofMillis(50);
    private static final long DEADLINE_MS = 30_000;
    private static final long HOUR_MS = 3_600_000;
    private static final Map<String, Case> CASES = new LinkedHashMap<>();

    static {
        CASES.put("commits", ApiCases::commits);
        CASES.put("auto_commit", ApiCases::autoCommit);
        CASES.put("places", ApiCases::places);
        CASES.put("listeners", ApiCases::listeners);
        CASES.put("assignors", ApiCases::assignors);
        CASES.put("static_members", ApiCases::staticMembers);
        CASES.put("pattern", ApiCases::pattern);
        CASES.put("leaving", ApiCases::leaving);
        CASES.put("admin_topics", ApiCases::adminTopics);
        CASES.put("admin_topics_refused", ApiCases::adminTopicsRefused);
        CASES.put("admin_partitions", ApiCases::adminPartitions);
        CASES.put("admin_topic_configs", ApiCases::adminTopicConfigs);
        CASES.put("admin_other_configs", ApiCases::adminOtherConfigs);
        CASES.put("admin_records", ApiCases::adminRecords);
        CASES.put("admin_cluster", ApiCases::adminCluster);
        CASES.put("admin_log_dirs", ApiCases::adminLogDirs);
        CASES.put("admin_producers", ApiCases::adminProducers);
        CASES.put("admin_elections", ApiCases::adminElections);
        CASES.put("admin_groups", ApiCases::adminGroups);
        CASES.put("admin_group_offsets", ApiCases::adminGroupOffsets);
        CASES.put("admin_group_members", ApiCases::adminGroupMembers);
        CASES.put("not_there", ApiCases::notThere);
    }

    private interface Case {
        void run(ApiCases here) throws Exception;
    }

    private static final class Failure extends RuntimeException {
        private static final long serialVersionUID = 1L;

        Failure(String what) {
            super(what);
        }
    }

    private final String address;
    // A name that nothing else uses, for the topic and the group of the case.
    private final String name;
    private final Admin admin;
    private final List<AutoCloseable> opened = new ArrayList<>();

    private ApiCases(String address, Admin admin, String name) {
        this.address = address;
        this.admin = admin;
        this.name = name;
    }

    public static void main(String[] arguments) throws Exception {
        String address = arguments[0];
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream answers = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", address))) {
            String line;
            while ((line = requests.readLine()) != null) {
                JsonNode request = JSON.readTree(line);
                ObjectNode answer = JSON.createObjectNode();
                if (request.get("do").asText().equals("version")) {
                    answer.put("version", AppInfoParser.getVersion());
                } else {
                    ApiCases here = new ApiCases(address, admin, request.get("name").asText());
                    try {
                        CASES.get(request.get("do").asText()).run(here);
                    } catch (Throwable error) {
                        StringWriter trace = new StringWriter();
                        error.printStackTrace(new PrintWriter(trace));
                        answer.put("code", -1).put("error", trace.toString());
                    } finally {
                        here.close();
                    }
                }
                answers.println(JSON.writeValueAsString(answer));
                answers.flush();
            }
        }
    }

    private void close() {
        for (AutoCloseable each : opened) {
            try {
                if (each instanceof KafkaConsumer<?, ?> consumer) {
                    consumer.close(CloseOptions.timeout(Duration.ofSeconds(1)));
                } else {
                    each.close();
                }
            } catch (Exception error) {
                System.err.println(error);
            }
        }
    }

    // Checks.

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new Failure(what);
        }
    }

    private static void equal(Object seen, Object wanted, String what) {
        check(Objects.equals(seen, wanted), what + ": " + seen + ", and not " + wanted);
    }

    /** The call must fail with exactly this. */
    private static <T extends Throwable> T refused(Class<T> wanted, Callable<?> call) {
        Throwable error = null;
        try {
            call.call();
        } catch (ExecutionException outer) {
            error = outer.getCause();
        } catch (Throwable thrown) {
            error = thrown;
        }
        check(error != null, "it is not refused with " + wanted.getSimpleName());
        if (!wanted.isInstance(error)) {
            throw new AssertionError("it is refused, but not with " + wanted.getSimpleName(), error);
        }
        return wanted.cast(error);
    }

    private static void until(String what, Callable<Boolean> probe) throws Exception {
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(DEADLINE_MS);
        while (!probe.call()) {
            check(System.nanoTime() < end, "not in time: " + what);
        }
    }

    // What the cases begin with.

    private TopicPartition place(int partition) {
        return new TopicPartition(name, partition);
    }

    private void topic(int partitions) throws Exception {
        topic(name, partitions);
    }

    private void topic(String topic, int partitions) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get();
        Map<TopicPartition, OffsetSpec> all = new HashMap<>();
        for (int partition = 0; partition < partitions; partition++) {
            all.put(new TopicPartition(topic, partition), OffsetSpec.latest());
        }
        // Elsewhere a topic is known and served a moment after it was made.
        until("the topic is served", () -> {
            try {
                admin.listOffsets(all).all().get();
                return true;
            } catch (ExecutionException error) {
                if (error.getCause() instanceof UnknownTopicOrPartitionException) {
                    return false;
                }
                throw error;
            }
        });
    }

    /** Records "0", "1", ... into each partition, an hour apart, the last of them an hour ago. */
    private void records(int partitions, int count) throws Exception {
        long now = System.currentTimeMillis();
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int partition = 0; partition < partitions; partition++) {
                for (int number = 0; number < count; number++) {
                    long time = now - (count - number) * HOUR_MS;
                    producer.send(new ProducerRecord<>(name, partition, time, "key", Integer.toString(number)));
                }
            }
            producer.flush();
        }
    }

    private KafkaConsumer<String, String> consumer(String... settings) {
        Properties all = new Properties();
        all.put("bootstrap.servers", address);
        all.put("group.id", name);
        all.put("enable.auto.commit", "false");
        all.put("auto.offset.reset", "earliest");
        if (!Arrays.asList(settings).contains("group.protocol")) {
            all.put("session.timeout.ms", "10000");
            all.put("heartbeat.interval.ms", "100");
        }
        for (int index = 0; index < settings.length; index += 2) {
            all.put(settings[index], settings[index + 1]);
        }
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(all, new StringDeserializer(), new StringDeserializer());
        opened.add(consumer);
        return consumer;
    }

    private static List<ConsumerRecord<String, String>> take(KafkaConsumer<String, String> consumer, int count) throws Exception {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        until(count + " records come", () -> {
            consumer.poll(POLL).forEach(records::add);
            return records.size() >= count;
        });
        return records;
    }

    @SafeVarargs
    private static void pollUntil(String what, Callable<Boolean> probe, KafkaConsumer<String, String>... consumers) throws Exception {
        until(what, () -> {
            for (KafkaConsumer<String, String> consumer : consumers) {
                consumer.poll(POLL);
            }
            return probe.call();
        });
    }

    private static Set<Integer> partitions(Collection<TopicPartition> places) {
        Set<Integer> partitions = new TreeSet<>();
        places.forEach(each -> partitions.add(each.partition()));
        return partitions;
    }

    /** True when the members together hold each of the partitions once. */
    @SafeVarargs
    private static boolean shared(int partitions, KafkaConsumer<String, String>... consumers) {
        int count = 0;
        Set<TopicPartition> all = new HashSet<>();
        for (KafkaConsumer<String, String> consumer : consumers) {
            count += consumer.assignment().size();
            all.addAll(consumer.assignment());
            if (consumer.assignment().isEmpty()) {
                return false;
            }
        }
        return count == partitions && all.size() == partitions;
    }

    // The consumer.

    private void commits() throws Exception {
        topic(2);
        records(2, 5);
        KafkaConsumer<String, String> consumer = consumer();
        consumer.subscribe(List.of(name));
        take(consumer, 10);
        equal(consumer.committed(Set.of(place(0), place(1))).get(place(0)), null, "committed before any commit");
        OffsetAndMetadata third = new OffsetAndMetadata(3, Optional.empty(), "here");
        consumer.commitSync(Map.of(place(0), third));
        equal(consumer.committed(Set.of(place(0))).get(place(0)), third, "committed, with its text");
        consumer.commitSync();
        equal(consumer.committed(Set.of(place(0), place(1))).get(place(1)).offset(), 5L, "committed is what was read");
        List<Object> outcomes = new ArrayList<>();
        for (long offset = 0; offset < 3; offset++) {
            OffsetAndMetadata wanted = new OffsetAndMetadata(offset);
            consumer.commitAsync(
                Map.of(place(1), wanted),
                (offsets, error) -> outcomes.add(error == null ? offsets.get(place(1)).offset() : error));
        }
        pollUntil("three commits are answered", () -> outcomes.size() == 3, consumer);
        equal(outcomes, List.of(0L, 1L, 2L), "commits in the order they were asked for");
        refused(OffsetMetadataTooLarge.class, () -> {
            consumer.commitSync(Map.of(place(0), new OffsetAndMetadata(1, "x".repeat(5000))));
            return null;
        });
        equal(consumer.committed(Set.of(place(0))).get(place(0)).offset(), 5L, "committed after the refusal");
        consumer.close();
        KafkaConsumer<String, String> next = consumer();
        next.subscribe(List.of(name));
        equal(take(next, 3).stream().map(each -> each.partition() + ":" + each.value()).toList(), List.of("1:2", "1:3", "1:4"),
            "what the next member reads");
    }

    private void autoCommit() throws Exception {
        topic(1);
        records(1, 5);
        KafkaConsumer<String, String> consumer = consumer("enable.auto.commit", "true", "auto.commit.interval.ms", "100");
        consumer.subscribe(List.of(name));
        take(consumer, 5);
        pollUntil(
            "it commits by itself",
            () -> {
                OffsetAndMetadata told = consumer.committed(Set.of(place(0))).get(place(0));
                return told != null && told.offset() == 5;
            },
            consumer);
    }

    private void places() throws Exception {
        topic(2);
        records(2, 6);
        KafkaConsumer<String, String> consumer = consumer("max.poll.records", "1");
        consumer.assign(List.of(place(0)));
        equal(consumer.position(place(0)), 0L, "the position where nothing was committed");
        equal(consumer.beginningOffsets(List.of(place(0), place(1))), Map.of(place(0), 0L, place(1), 0L), "starts");
        equal(consumer.endOffsets(List.of(place(0), place(1))), Map.of(place(0), 6L, place(1), 6L), "ends");
        consumer.seek(place(0), 4);
        equal(take(consumer, 1).get(0).value(), "4", "the record at the offset sought");
        equal(consumer.position(place(0)), 5L, "the position after it");
        consumer.seekToBeginning(List.of(place(0)));
        equal(take(consumer, 1).get(0).value(), "0", "the first record");
        consumer.seekToEnd(List.of(place(0)));
        equal(consumer.position(place(0)), 6L, "the position at the end");
        long now = System.currentTimeMillis();
        var found = consumer.offsetsForTimes(Map.of(place(0), now - 3 * HOUR_MS - HOUR_MS / 2, place(1), now));
        equal(found.get(place(0)).offset(), 3L, "the offset at a time");
        equal(found.get(place(1)), null, "the offset at a time after all");
        equal(consumer.partitionsFor(name).size(), 2, "partitions of the topic");
        check(consumer.listTopics().containsKey(name), "the topic is not listed");
        consumer.pause(List.of(place(0)));
        consumer.seekToBeginning(List.of(place(0)));
        check(consumer.poll(Duration.ofMillis(200)).isEmpty(), "a paused partition gave a record");
        consumer.resume(List.of(place(0)));
        equal(take(consumer, 1).get(0).value(), "0", "the record after it was resumed");
        equal(consumer.currentLag(place(0)).orElse(-1), 5L, "the lag");
        // An offset that does not exist is told to a consumer without a policy, and moves one with a policy.
        KafkaConsumer<String, String> strict = consumer("auto.offset.reset", "none");
        strict.assign(List.of(place(0)));
        strict.seek(place(0), 100);
        refused(org.apache.kafka.clients.consumer.OffsetOutOfRangeException.class, () -> take(strict, 1));
        consumer.seek(place(0), 100);
        equal(take(consumer, 1).get(0).value(), "0", "the record after a seek beyond the end");
    }

    private static final class Heard implements ConsumerRebalanceListener {
        final List<Set<Integer>> assigned = new ArrayList<>();
        final List<Set<Integer>> revoked = new ArrayList<>();
        final List<Set<Integer>> lost = new ArrayList<>();
        final KafkaConsumer<String, String> consumer;

        Heard(KafkaConsumer<String, String> consumer) {
            this.consumer = consumer;
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            assigned.add(partitions(partitions));
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            revoked.add(partitions(partitions));
            // The last moment at which what was read can be told.
            consumer.commitSync();
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            lost.add(partitions(partitions));
        }

        private static Set<Integer> partitions(Collection<TopicPartition> places) {
            return ApiCases.partitions(places);
        }
    }

    private void listeners() throws Exception {
        topic(4);
        records(4, 5);
        KafkaConsumer<String, String> first = consumer();
        Heard heard = new Heard(first);
        first.subscribe(List.of(name), heard);
        take(first, 20);
        equal(heard.assigned, List.of(Set.of(0, 1, 2, 3)), "what the only member was given");
        KafkaConsumer<String, String> second = consumer();
        second.subscribe(List.of(name));
        pollUntil("two members share", () -> shared(4, first, second), first, second);
        equal(heard.revoked.size(), 1, "times that the first gave something back");
        equal(heard.lost, List.of(), "what the first lost");
        for (TopicPartition each : second.assignment()) {
            equal(second.position(each), 5L, "where the second goes on: what the first committed when it was asked to give back");
        }
        second.close();
        pollUntil("the first has all again", () -> first.assignment().size() == 4, first);
        // Removed by an administrator, it loses what it had, and joins again.
        admin.removeMembersFromConsumerGroup(name, new RemoveMembersFromConsumerGroupOptions()).all().get();
        pollUntil("the first hears that it lost its partitions", () -> !heard.lost.isEmpty(), first);
        equal(heard.lost, List.of(Set.of(0, 1, 2, 3)), "what the first lost");
        pollUntil("the first is back", () -> first.assignment().size() == 4, first);
    }

    private void assignors() throws Exception {
        topic(6);
        Map<String, Class<?>> all = new LinkedHashMap<>();
        all.put("range", RangeAssignor.class);
        all.put("roundrobin", RoundRobinAssignor.class);
        all.put("sticky", StickyAssignor.class);
        all.put("cooperative-sticky", CooperativeStickyAssignor.class);
        for (var each : all.entrySet()) {
            String group = name + "." + each.getKey();
            String[] settings = {"group.id", group, ConsumerConfig.PARTITION_ASSIGNMENT_STRATEGY_CONFIG, each.getValue().getName()};
            KafkaConsumer<String, String> first = consumer(settings);
            first.subscribe(List.of(name));
            pollUntil("one member has all", () -> first.assignment().size() == 6, first);
            Set<TopicPartition> before = Set.copyOf(first.assignment());
            KafkaConsumer<String, String> second = consumer(settings);
            second.subscribe(List.of(name));
            pollUntil("two members share by " + each.getKey(), () -> shared(6, first, second), first, second);
            equal(first.assignment().size(), 3, "partitions of the first by " + each.getKey());
            check(before.containsAll(first.assignment()), "the first was given what it did not have");
            KafkaConsumer<String, String> third = consumer(settings);
            third.subscribe(List.of(name));
            pollUntil("three members share by " + each.getKey(), () -> shared(6, first, second, third), first, second, third);
            ConsumerGroupDescription told = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
            equal(told.partitionAssignor(), each.getKey(), "the protocol that is told");
            second.close();
            pollUntil("the others share what was left", () -> shared(6, first, third), first, third);
            first.close();
            third.close();
        }
    }

    private void staticMembers() throws Exception {
        topic(4);
        KafkaConsumer<String, String> first = consumer("group.instance.id", "one");
        KafkaConsumer<String, String> second = consumer("group.instance.id", "two");
        first.subscribe(List.of(name));
        second.subscribe(List.of(name));
        pollUntil("two static members share", () -> shared(4, first, second), first, second);
        int generation = first.groupMetadata().generationId();
        Set<TopicPartition> held = Set.copyOf(second.assignment());
        // A static member that ends does not leave, and comes back to what it had without anybody else noticing.
        second.close();
        KafkaConsumer<String, String> back = consumer("group.instance.id", "two");
        back.subscribe(List.of(name));
        pollUntil("it is back", () -> back.assignment().size() == 2, first, back);
        equal(back.assignment(), held, "what it comes back to");
        equal(first.groupMetadata().generationId(), generation, "the generation");
        // A second one with the name of a living one takes its place.
        KafkaConsumer<String, String> twin = consumer("group.instance.id", "one");
        twin.subscribe(List.of(name));
        pollUntil("the twin has the place", () -> twin.assignment().size() == 2, twin, back);
        refused(FencedInstanceIdException.class, () -> {
            pollUntil("the one it replaced is told", () -> false, first);
            return null;
        });
        Map<String, Integer> named = new HashMap<>();
        admin.describeConsumerGroups(List.of(name)).all().get().get(name).members()
            .forEach(each -> named.put(each.groupInstanceId().orElse(""), each.assignment().topicPartitions().size()));
        equal(named, Map.of("one", 2, "two", 2), "static members as they are described");
        admin.removeMembersFromConsumerGroup(
            name, new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one")))).all().get();
        twin.close();
        pollUntil("the other has all", () -> back.assignment().size() == 4, back);
    }

    private void pattern() throws Exception {
        topic(name + ".a", 1);
        KafkaConsumer<String, String> consumer = consumer("metadata.max.age.ms", "300");
        consumer.subscribe(Pattern.compile(Pattern.quote(name) + "[.][a-c]"));
        pollUntil("the first topic is found", () -> consumer.assignment().size() == 1, consumer);
        topic(name + ".b", 2);
        topic(name + ".x", 1);
        pollUntil("the new topic is found", () -> consumer.assignment().size() == 3, consumer);
        equal(consumer.subscription(), Set.of(name + ".a", name + ".b"), "topics");
        admin.deleteTopics(List.of(name + ".a")).all().get();
        pollUntil("the topic that is gone is forgotten", () -> consumer.assignment().size() == 2, consumer);
    }

    private void leaving() throws Exception {
        topic(2);
        KafkaConsumer<String, String> first = consumer("session.timeout.ms", "4000");
        first.subscribe(List.of(name));
        pollUntil("it has all", () -> first.assignment().size() == 2, first);
        first.unsubscribe();
        until("the group is empty after it unsubscribed", () -> state() == GroupState.EMPTY);
        first.subscribe(List.of(name));
        pollUntil("it has all again", () -> first.assignment().size() == 2, first);
        first.close(CloseOptions.groupMembershipOperation(CloseOptions.GroupMembershipOperation.REMAIN_IN_GROUP));
        equal(state(), GroupState.STABLE, "the group after a member that remains in it closed");
        KafkaConsumer<String, String> second = consumer();
        second.subscribe(List.of(name));
        // Whoever remained is dropped when its session ends.
        pollUntil("the next has all", () -> second.assignment().size() == 2, second);
        second.close();
        until("the group is empty after the next closed", () -> state() == GroupState.EMPTY);
    }

    private GroupState state() throws Exception {
        return admin.describeConsumerGroups(List.of(name)).all().get().get(name).groupState();
    }

    // Topics.

    private void adminTopics() throws Exception {
        NewTopic wanted = new NewTopic(name, 3, (short) 1).configs(Map.of("retention.ms", "7200000"));
        var tried = admin.createTopics(List.of(wanted), new CreateTopicsOptions().validateOnly(true));
        equal(tried.numPartitions(name).get(), 3, "partitions that would be made");
        check(!admin.listTopics().names().get().contains(name), "validateOnly made the topic");
        var made = admin.createTopics(List.of(wanted));
        equal(made.numPartitions(name).get(), 3, "partitions that were made");
        equal(made.replicationFactor(name).get(), 1, "replicas that were made");
        equal(made.config(name).get().get("retention.ms").value(), "7200000", "the setting that was made");
        equal(made.config(name).get().get("cleanup.policy").value(), "delete", "a default that was told");
        Uuid id = made.topicId(name).get();
        until("the topic is listed", () -> admin.listTopics().names().get().contains(name));
        TopicDescription told = admin.describeTopics(List.of(name)).allTopicNames().get().get(name);
        equal(told.topicId(), id, "the id as described");
        equal(told.partitions().size(), 3, "partitions as described");
        Node leader = told.partitions().get(0).leader();
        equal(told.partitions().get(0).replicas(), List.of(leader), "replicas");
        equal(told.partitions().get(0).isr(), List.of(leader), "replicas in sync");
        check(!told.isInternal(), "it is internal");
        TopicDescription byId = admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds().get().get(id);
        equal(byId.name(), name, "the name as described by id");
        equal(admin.listTopics().namesToListings().get().get(name).topicId(), id, "the id as listed");
        // A long list comes in pieces.
        TopicDescription pieces = admin.describeTopics(List.of(name), new DescribeTopicsOptions().partitionSizeLimitPerResponse(1))
            .allTopicNames().get().get(name);
        equal(pieces.partitions().size(), 3, "partitions as described in pieces");
        Set<AclOperation> allowed = admin.describeTopics(
            List.of(name), new DescribeTopicsOptions().includeAuthorizedOperations(true)).allTopicNames().get().get(name).authorizedOperations();
        check(allowed.contains(AclOperation.READ) && allowed.contains(AclOperation.WRITE), "what one may do: " + allowed);
        admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
        until("the topic is not listed", () -> !admin.listTopics().names().get().contains(name));
        // Made again, it is another one.
        check(!admin.createTopics(List.of(wanted)).topicId(name).get().equals(id), "an id was used again");
        admin.deleteTopics(List.of(name)).all().get();
        equal(admin.createTopics(List.of(new NewTopic(name, Map.of(0, List.of(leader.id()), 1, List.of(leader.id())))))
            .numPartitions(name).get(), 2, "partitions of an assignment by hand");
        // Nothing said: the broker's defaults.
        var defaults = admin.createTopics(List.of(new NewTopic(name + ".d", Optional.empty(), Optional.empty())));
        check(defaults.numPartitions(name + ".d").get() >= 1, "the default count of partitions");
    }

    private void adminTopicsRefused() throws Exception {
        topic(1);
        refused(TopicExistsException.class, () -> admin.createTopics(List.of(new NewTopic(name, 1, (short) 1))).all().get());
        Map<Class<? extends Throwable>, NewTopic> wrong = new LinkedHashMap<>();
        wrong.put(InvalidTopicException.class, new NewTopic("no/such:name", 1, (short) 1));
        wrong.put(InvalidPartitionsException.class, new NewTopic(name + ".p", 0, (short) 1));
        wrong.put(InvalidReplicationFactorException.class, new NewTopic(name + ".r", 1, (short) 3));
        wrong.put(
            InvalidConfigurationException.class, new NewTopic(name + ".c", 1, (short) 1).configs(Map.of("no.such.setting", "1")));
        wrong.put(InvalidReplicaAssignmentException.class, new NewTopic(name + ".a", Map.of(0, List.of(7000))));
        List<NewTopic> all = new ArrayList<>(wrong.values());
        all.add(new NewTopic(name + ".good", 1, (short) 1));
        Map<String, KafkaFuture<Void>> outcomes = admin.createTopics(all).values();
        for (var each : wrong.entrySet()) {
            refused(each.getKey(), () -> outcomes.get(each.getValue().name()).get());
        }
        outcomes.get(name + ".good").get();
        refused(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of(name + ".none")).all().get());
        refused(UnknownTopicOrPartitionException.class, () -> admin.describeTopics(List.of(name + ".none")).allTopicNames().get());
        List<Uuid> nobody = List.of(Uuid.randomUuid());
        refused(UnknownTopicIdException.class, () -> admin.deleteTopics(TopicCollection.ofTopicIds(nobody)).all().get());
        refused(UnknownTopicIdException.class, () -> admin.describeTopics(TopicCollection.ofTopicIds(nobody)).allTopicIds().get());
    }

    private void adminPartitions() throws Exception {
        topic(2);
        int node = admin.describeCluster().nodes().get().iterator().next().id();
        admin.createPartitions(Map.of(name, NewPartitions.increaseTo(4)), new CreatePartitionsOptions().validateOnly(true)).all().get();
        equal(count(), 2, "partitions after a trial");
        admin.createPartitions(Map.of(name, NewPartitions.increaseTo(4))).all().get();
        until("partitions grow", () -> count() == 4);
        admin.createPartitions(Map.of(name, NewPartitions.increaseTo(5, List.of(List.of(node))))).all().get();
        until("partitions grow by hand", () -> count() == 5);
        refused(InvalidPartitionsException.class, () ->
            admin.createPartitions(Map.of(name, NewPartitions.increaseTo(3))).all().get());
        refused(InvalidPartitionsException.class, () ->
            admin.createPartitions(Map.of(name, NewPartitions.increaseTo(5))).all().get());
        refused(InvalidReplicaAssignmentException.class, () ->
            admin.createPartitions(Map.of(name, NewPartitions.increaseTo(6, List.of(List.of(7000))))).all().get());
        refused(UnknownTopicOrPartitionException.class, () ->
            admin.createPartitions(Map.of(name + ".none", NewPartitions.increaseTo(3))).all().get());
        equal(count(), 5, "partitions after the refusals");
        equal(admin.listOffsets(Map.of(place(4), OffsetSpec.latest())).all().get().get(place(4)).offset(), 0L, "the new one's end");
    }

    private int count() throws Exception {
        return admin.describeTopics(List.of(name)).allTopicNames().get().get(name).partitions().size();
    }

    // Settings.

    private void change(ConfigResource what, AlterConfigOp.OpType how, String key, String value) throws Exception {
        admin.incrementalAlterConfigs(Map.of(what, List.of(new AlterConfigOp(new ConfigEntry(key, value), how)))).all().get();
    }

    private Config settings(ConfigResource what) throws Exception {
        return admin.describeConfigs(List.of(what), new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true))
            .all().get().get(what);
    }

    private void adminTopicConfigs() throws Exception {
        topic(1);
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, name);
        ConfigEntry before = settings(topic).get("retention.ms");
        equal(before.value(), "604800000", "the default");
        equal(before.source(), ConfigEntry.ConfigSource.DEFAULT_CONFIG, "the default's source");
        equal(before.type(), ConfigEntry.ConfigType.LONG, "its type");
        check(!before.isReadOnly() && !before.isSensitive() && before.isDefault(), "its nature");
        check(before.documentation() != null && !before.documentation().isEmpty(), "it has no explanation");
        change(topic, AlterConfigOp.OpType.SET, "retention.ms", "7200000");
        until("the setting is changed", () -> settings(topic).get("retention.ms").value().equals("7200000"));
        equal(settings(topic).get("retention.ms").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "its source");
        change(topic, AlterConfigOp.OpType.APPEND, "cleanup.policy", "compact");
        until("the list has grown", () -> settings(topic).get("cleanup.policy").value().equals("delete,compact"));
        equal(settings(topic).get("cleanup.policy").type(), ConfigEntry.ConfigType.LIST, "its type");
        equal(settings(topic).get("cleanup.policy").synonyms().size(), 2, "where it could come from");
        change(topic, AlterConfigOp.OpType.SUBTRACT, "cleanup.policy", "delete");
        until("the list has shrunk", () -> settings(topic).get("cleanup.policy").value().equals("compact"));
        change(topic, AlterConfigOp.OpType.DELETE, "cleanup.policy", null);
        until("the default is back", () -> settings(topic).get("cleanup.policy").value().equals("delete"));
        List<AlterConfigOp> trial = List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "1"), AlterConfigOp.OpType.SET));
        admin.incrementalAlterConfigs(Map.of(topic, trial), new AlterConfigsOptions().validateOnly(true)).all().get();
        for (String[] wrong : new String[][] {{"no.such", "1"}, {"retention.ms", "soon"}, {"cleanup.policy", "burn"}, {"segment.bytes", "-5"}}) {
            refused(InvalidConfigurationException.class, () -> {
                change(topic, AlterConfigOp.OpType.SET, wrong[0], wrong[1]);
                return null;
            });
        }
        equal(settings(topic).get("retention.ms").value(), "7200000", "the setting after a trial and refusals");
        ConfigResource none = new ConfigResource(ConfigResource.Type.TOPIC, name + ".none");
        refused(UnknownTopicOrPartitionException.class, () -> settings(none));
        refused(UnknownTopicOrPartitionException.class, () -> {
            change(none, AlterConfigOp.OpType.SET, "retention.ms", "1");
            return null;
        });
    }

    private void adminOtherConfigs() throws Exception {
        int node = admin.describeCluster().nodes().get().iterator().next().id();
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, Integer.toString(node));
        ConfigResource every = new ConfigResource(ConfigResource.Type.BROKER, "");
        ConfigResource group = new ConfigResource(ConfigResource.Type.GROUP, name);
        change(broker, AlterConfigOp.OpType.SET, "background.threads", "8");
        until("the broker's setting is there", () -> settings(broker).get("background.threads").value().equals("8"));
        equal(settings(broker).get("background.threads").source(), ConfigEntry.ConfigSource.DYNAMIC_BROKER_CONFIG, "its source");
        change(broker, AlterConfigOp.OpType.DELETE, "background.threads", null);
        until("the broker's default is back", () -> settings(broker).get("background.threads").value().equals("10"));
        change(every, AlterConfigOp.OpType.SET, "background.threads", "9");
        until("the default of all brokers is there", () -> settings(broker).get("background.threads").value().equals("9"));
        equal(
            settings(broker).get("background.threads").source(), ConfigEntry.ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG, "its source");
        change(every, AlterConfigOp.OpType.DELETE, "background.threads", null);
        until("the default of all brokers is gone", () -> settings(broker).get("background.threads").value().equals("10"));
        // Apache Kafka calls it an invalid request here, and an invalid configuration where a topic is concerned.
        refused(ApiException.class, () -> {
            change(broker, AlterConfigOp.OpType.SET, "background.threads", "many");
            return null;
        });
        change(group, AlterConfigOp.OpType.SET, "consumer.session.timeout.ms", "50000");
        until("the group's setting is there", () -> settings(group).get("consumer.session.timeout.ms").value().equals("50000"));
        equal(
            settings(group).get("consumer.session.timeout.ms").source(), ConfigEntry.ConfigSource.DYNAMIC_GROUP_CONFIG, "its source");
        check(admin.listConfigResources(Set.of(ConfigResource.Type.GROUP), new org.apache.kafka.clients.admin.ListConfigResourcesOptions())
            .all().get().contains(group), "the group is not listed among what has settings");
        change(group, AlterConfigOp.OpType.DELETE, "consumer.session.timeout.ms", null);
        refused(InvalidConfigurationException.class, () -> {
            change(group, AlterConfigOp.OpType.SET, "no.such", "1");
            return null;
        });
    }

    // Records, and the broker.

    private void adminRecords() throws Exception {
        topic(2);
        records(1, 6);
        long now = System.currentTimeMillis();
        Map<OffsetSpec, Long> specs = new LinkedHashMap<>();
        specs.put(OffsetSpec.earliest(), 0L);
        specs.put(OffsetSpec.latest(), 6L);
        specs.put(OffsetSpec.maxTimestamp(), 5L);
        specs.put(OffsetSpec.earliestLocal(), 0L);
        specs.put(OffsetSpec.forTimestamp(now - 3 * HOUR_MS - HOUR_MS / 2), 3L);
        specs.put(OffsetSpec.forTimestamp(now + HOUR_MS), -1L);
        specs.put(OffsetSpec.latestTiered(), -1L);
        for (var each : specs.entrySet()) {
            equal(admin.listOffsets(Map.of(place(0), each.getKey())).all().get().get(place(0)).offset(), each.getValue(),
                each.getKey().getClass().getSimpleName());
        }
        equal(
            admin.deleteRecords(Map.of(place(0), RecordsToDelete.beforeOffset(4))).lowWatermarks().get(place(0)).get().lowWatermark(), 4L,
            "where it begins now");
        equal(admin.listOffsets(Map.of(place(0), OffsetSpec.earliest())).all().get().get(place(0)).offset(), 4L, "the start as listed");
        refused(OffsetOutOfRangeException.class, () ->
            admin.deleteRecords(Map.of(place(0), RecordsToDelete.beforeOffset(7))).all().get());
        // Less than was deleted already changes nothing.
        equal(
            admin.deleteRecords(Map.of(place(0), RecordsToDelete.beforeOffset(1))).lowWatermarks().get(place(0)).get().lowWatermark(), 4L,
            "where it begins after less was asked for");
        equal(
            admin.deleteRecords(Map.of(place(0), RecordsToDelete.beforeOffset(-1))).lowWatermarks().get(place(0)).get().lowWatermark(), 6L,
            "where it begins after all was deleted");
        KafkaConsumer<String, String> consumer = consumer();
        consumer.assign(List.of(place(0)));
        consumer.seekToBeginning(List.of(place(0)));
        equal(consumer.position(place(0)), 6L, "where a consumer begins");
    }

    private void adminCluster() throws Exception {
        var told = admin.describeCluster(new DescribeClusterOptions().includeAuthorizedOperations(true));
        Collection<Node> nodes = told.nodes().get();
        equal(nodes.size(), 1, "brokers");
        Node node = nodes.iterator().next();
        equal(node.host() + ":" + node.port(), address, "its address");
        check(nodes.contains(told.controller().get()), "the controller is none of the brokers");
        check(!told.clusterId().get().isEmpty(), "the cluster has no id");
        check(told.authorizedOperations().get().contains(AclOperation.ALTER), "what one may do: " + told.authorizedOperations().get());
        QuorumInfo quorum = admin.describeMetadataQuorum().quorumInfo().get();
        check(quorum.leaderId() >= 0, "the quorum has no leader");
        check(quorum.voters().stream().anyMatch(each -> each.replicaId() == quorum.leaderId()), "the leader is no voter");
        // Whatever is announced; it must only be an answer.
        admin.describeFeatures().featureMetadata().get();
    }

    private void adminLogDirs() throws Exception {
        topic(2);
        records(2, 5);
        Node node = admin.describeCluster().nodes().get().iterator().next();
        var folders = admin.describeLogDirs(List.of(node.id())).allDescriptions().get().get(node.id());
        equal(folders.size(), 1, "folders");
        var folder = folders.entrySet().iterator().next();
        equal(folder.getValue().error(), null, "the folder's error");
        var replicas = folder.getValue().replicaInfos();
        check(replicas.keySet().containsAll(Set.of(place(0), place(1))), "a partition is not there");
        check(replicas.get(place(0)).size() > 0, "a written partition has no bytes");
        check(!replicas.get(place(0)).isFuture(), "it is about to come");
        check(folder.getValue().totalBytes().orElse(0) > 0, "the folder has no size");
        check(folder.getValue().usableBytes().orElse(0) > 0, "the folder has no room");
        var replica = new org.apache.kafka.common.TopicPartitionReplica(name, 0, node.id());
        equal(
            admin.describeReplicaLogDirs(List.of(replica)).all().get().get(replica).getCurrentReplicaLogDir(), folder.getKey(),
            "the folder of one replica");
        // It is where it should go already.
        admin.alterReplicaLogDirs(Map.of(replica, folder.getKey())).all().get();
    }

    private void adminProducers() throws Exception {
        topic(1);
        records(1, 5);
        List<ProducerState> states = admin.describeProducers(List.of(place(0))).all().get().get(place(0)).activeProducers();
        equal(states.size(), 1, "producers");
        equal(states.get(0).producerEpoch(), 0, "its epoch");
        equal(states.get(0).lastSequence(), 4, "its last number");
        check(states.get(0).currentTransactionStartOffset().isEmpty(), "it has a transaction");
    }

    private void adminElections() throws Exception {
        topic(2);
        int node = admin.describeCluster().nodes().get().iterator().next().id();
        var outcome = admin.electLeaders(ElectionType.PREFERRED, Set.of(place(0))).partitions().get();
        check(outcome.get(place(0)).orElse(null) instanceof ElectionNotNeededException, "an election: " + outcome);
        equal(admin.listPartitionReassignments().reassignments().get(), Map.of(), "partitions on their way");
        var here = Optional.of(new NewPartitionReassignment(List.of(node)));
        admin.alterPartitionReassignments(Map.of(place(0), here)).all().get();
        refused(InvalidReplicaAssignmentException.class, () ->
            admin.alterPartitionReassignments(Map.of(place(0), Optional.of(new NewPartitionReassignment(List.of(7000))))).all().get());
        equal(admin.listPartitionReassignments(Set.of(place(0))).reassignments().get(), Map.of(), "partitions on their way afterwards");
    }

    // Groups.

    private void adminGroups() throws Exception {
        topic(2);
        records(2, 5);
        KafkaConsumer<String, String> member = consumer("client.id", "one");
        member.subscribe(List.of(name));
        take(member, 10);
        member.commitSync();
        ConsumerGroupDescription told = admin.describeConsumerGroups(
            List.of(name), new DescribeConsumerGroupsOptions().includeAuthorizedOperations(true)).all().get().get(name);
        equal(told.groupState(), GroupState.STABLE, "the state");
        equal(told.type(), GroupType.CLASSIC, "the type");
        equal(told.partitionAssignor(), "range", "the protocol");
        equal(told.coordinator().host() + ":" + told.coordinator().port(), address, "the coordinator");
        check(told.authorizedOperations().contains(AclOperation.READ), "what one may do: " + told.authorizedOperations());
        MemberDescription one = told.members().iterator().next();
        equal(one.clientId(), "one", "the member's client");
        equal(one.host(), "/127.0.0.1", "the member's host");
        equal(one.consumerId(), member.groupMetadata().memberId(), "the member's id");
        equal(partitions(one.assignment().topicPartitions()), Set.of(0, 1), "its partitions");
        check(listed(new ListGroupsOptions()).contains(name), "the group is not listed");
        check(listed(new ListGroupsOptions().inGroupStates(Set.of(GroupState.STABLE))).contains(name), "it is not among the stable ones");
        check(!listed(new ListGroupsOptions().inGroupStates(Set.of(GroupState.EMPTY))).contains(name), "it is among the empty ones");
        check(listed(new ListGroupsOptions().withTypes(Set.of(GroupType.CLASSIC))).contains(name), "it is not among the classic ones");
        check(!listed(new ListGroupsOptions().withTypes(Set.of(GroupType.CONSUMER))).contains(name), "it is of another type, too");
        check(listed(ListGroupsOptions.forConsumerGroups()).contains(name), "it is not among the consumers' groups");
        equal(
            admin.describeClassicGroups(List.of(name)).all().get().get(name).protocolData(), "range",
            "the protocol as a classic group's");
        refused(GroupNotEmptyException.class, () -> admin.deleteConsumerGroups(List.of(name)).all().get());
        member.close();
        until("the group is empty", () -> state() == GroupState.EMPTY);
        admin.deleteConsumerGroups(List.of(name)).all().get();
        check(!listed(new ListGroupsOptions()).contains(name), "the group is still listed");
        refused(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(name)).all().get());
        refused(GroupIdNotFoundException.class, () -> admin.describeConsumerGroups(List.of(name)).all().get());
    }

    private Set<String> listed(ListGroupsOptions options) throws Exception {
        Set<String> names = new HashSet<>();
        for (GroupListing each : admin.listGroups(options).all().get()) {
            names.add(each.groupId());
        }
        return names;
    }

    private Map<TopicPartition, OffsetAndMetadata> committed(String group) throws Exception {
        return admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata(group).get();
    }

    private void adminGroupOffsets() throws Exception {
        topic(2);
        records(2, 5);
        String other = name + ".other";
        OffsetAndMetadata text = new OffsetAndMetadata(2, "by hand");
        admin.alterConsumerGroupOffsets(name, Map.of(place(0), text, place(1), new OffsetAndMetadata(4))).all().get();
        admin.alterConsumerGroupOffsets(other, Map.of(place(0), new OffsetAndMetadata(1))).all().get();
        equal(committed(name), Map.of(place(0), text, place(1), new OffsetAndMetadata(4)), "offsets");
        // Some partitions of one group and all of another, in one question.
        Map<String, ListConsumerGroupOffsetsSpec> some = new HashMap<>();
        some.put(name, new ListConsumerGroupOffsetsSpec().topicPartitions(List.of(place(1))));
        some.put(other, new ListConsumerGroupOffsetsSpec());
        var both = admin.listConsumerGroupOffsets(some).all().get();
        equal(both.get(name), Map.of(place(1), new OffsetAndMetadata(4)), "one partition's offset");
        equal(both.get(other), Map.of(place(0), new OffsetAndMetadata(1)), "the other group's offsets");
        equal(committed(name + ".none"), Map.of(), "offsets of a group that is none");
        TopicPartition none = new TopicPartition(name + ".none", 0);
        refused(UnknownTopicOrPartitionException.class, () ->
            admin.alterConsumerGroupOffsets(name, Map.of(none, new OffsetAndMetadata(1))).all().get());
        KafkaConsumer<String, String> member = consumer();
        member.subscribe(List.of(name));
        equal(take(member, 4).size(), 4, "records from where the administrator put the group");
        refused(UnknownMemberIdException.class, () ->
            admin.alterConsumerGroupOffsets(name, Map.of(place(0), new OffsetAndMetadata(0))).all().get());
        refused(GroupSubscribedToTopicException.class, () ->
            admin.deleteConsumerGroupOffsets(name, Set.of(place(0))).all().get());
        member.close();
        until("the group is empty", () -> state() == GroupState.EMPTY);
        admin.deleteConsumerGroupOffsets(name, Set.of(place(0))).all().get();
        equal(committed(name).keySet(), Set.of(place(1)), "what is left");
        // A topic that goes takes what was committed about it along.
        admin.deleteTopics(List.of(name)).all().get();
        until("the offsets are gone with their topic", () -> committed(name).isEmpty());
    }

    private void adminGroupMembers() throws Exception {
        topic(4);
        records(4, 1);
        KafkaConsumer<String, String> first = consumer();
        KafkaConsumer<String, String> second = consumer("group.instance.id", "two");
        first.subscribe(List.of(name));
        second.subscribe(List.of(name));
        pollUntil("two members share", () -> shared(4, first, second), first, second);
        refused(UnknownMemberIdException.class, () ->
            admin.removeMembersFromConsumerGroup(
                name, new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("nobody")))).memberResult(new MemberToRemove("nobody")).get());
        equal(admin.describeConsumerGroups(List.of(name)).all().get().get(name).members().size(), 2, "members after that");
        admin.removeMembersFromConsumerGroup(name, new RemoveMembersFromConsumerGroupOptions()).all().get();
        equal(state(), GroupState.EMPTY, "the state without members");
        // Whoever was removed cannot commit.
        Throwable error = null;
        try {
            first.commitSync(Map.of(place(0), new OffsetAndMetadata(1)));
        } catch (CommitFailedException | RebalanceInProgressException thrown) {
            error = thrown;
        }
        check(error != null, "a member that was removed could commit");
        pollUntil("both are back", () -> shared(4, first), first);
    }

    /** What this broker does not speak must fail at once and by name, not hang. */
    private void notThere() throws Exception {
        topic(1);
        KafkaConsumer<String, String> newer = consumer("group.protocol", "consumer");
        newer.subscribe(List.of(name));
        refused(UnsupportedVersionException.class, () -> take(newer, 1));
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        settings.put("transactional.id", name);
        settings.put("max.block.ms", "10000");
        KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
        opened.add(producer);
        Throwable told = refused(Throwable.class, () -> {
            producer.initTransactions();
            return null;
        });
        check(!(told instanceof org.apache.kafka.common.errors.TimeoutException), "a transaction hangs: " + told);
        Properties shared = new Properties();
        shared.put("bootstrap.servers", address);
        shared.put("group.id", name + ".share");
        try (KafkaShareConsumer<String, String> consumer =
            new KafkaShareConsumer<>(shared, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(name));
            refused(UnsupportedVersionException.class, () -> {
                until("it fails", () -> {
                    consumer.poll(POLL);
                    return false;
                });
                return null;
            });
        }
        refused(UnsupportedVersionException.class, () -> admin.describeAcls(AclBindingFilter.ANY).values().get());
        refused(UnsupportedVersionException.class, () -> admin.listTransactions().all().get());
    }

}
