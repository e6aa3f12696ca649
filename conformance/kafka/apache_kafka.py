# SPDX-License-Identifier: Apache-2.0
"""Apache Kafka itself, one node in its combined mode: what every case is run against once, to see what the right answer is.

Owns: its settings, its ports, when it is ready.
Must not know: what clients send. It looks to a case like the broker under test (`broker.Served`).

The settings are Kafka's defaults but for what one node needs, and for what client test suites expect of a broker: four partitions,
node 0, short sessions, no wait before the first rebalance, ACL requests that are answered.
"""

import base64
import os
import socket
import subprocess

from broker import Served
from case import expect, until
from group_wire import GroupWire

VERSION = "4.3.1"
READY_S_MAX = 120
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "0",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "log.retention.check.interval.ms": "3000",
    "log.cleaner.backoff.ms": "3000",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
    "super.users": "User:ANONYMOUS",
}


class ApacheKafka(Served):
    brand = "Apache Kafka"
    # Folder of jars.
    jars = None
    stop_s_max = 60

    def __init__(self, settings=None, data_dir=None):
        super().__init__(settings, data_dir)
        # It cannot say which port it was given, so it must be told one that was free a moment ago.
        self.host_port, self.controller = ("127.0.0.1", free_port()), f"127.0.0.1:{free_port()}"
        self.start()

    def start(self, settings=None):
        self.settings.update(settings or {})
        properties = self.data_dir + ".properties"
        with open(properties, "w", encoding="ascii") as file:
            for name, value in self.properties().items():
                file.write(f"{name}={value}\n")
        with open(self.log_path, "ab") as log:
            if not os.path.exists(os.path.join(self.data_dir, "meta.properties")):
                cluster = base64.urlsafe_b64encode(os.urandom(16)).rstrip(b"=").decode()
                # An id that begins with a dash would be taken for an option.
                format_it = ["kafka.tools.StorageTool", "format", "--standalone", "-t", "k" + cluster[1:], "-c", properties]
                done = subprocess.run(self.java("256m", *format_it), stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False)
                expect(done.returncode == 0, lambda: f"formatting failed:\n{self.log()}")
            self.process = subprocess.Popen(
                self.java("1g", "kafka.Kafka", properties), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(self.answers, READY_S_MAX, "Apache Kafka answers")

    def java(self, heap, *words):
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return ["java", f"-Xmx{heap}", "-XX:TieredStopAtLevel=1", quiet, "-cp", os.path.join(ApacheKafka.jars, "*"), *words]

    def properties(self):
        kafka = self.address
        return {
            **SETTINGS,
            "controller.quorum.bootstrap.servers": self.controller,
            "listeners": f"PLAINTEXT://{kafka},CONTROLLER://{self.controller}",
            "advertised.listeners": f"PLAINTEXT://{kafka}",
            "log.dirs": self.data_dir,
            **self.settings,
        }

    def answers(self):
        """Ready when groups can be asked for too: their topic is made upon the first such question."""
        expect(self.alive(), lambda: f"Apache Kafka ended before it was ready:\n{self.log()}")
        try:
            with GroupWire(self.host_port, timeout_s=5) as wire:
                return wire.find_coordinator("ready") == 0
        except (OSError, AssertionError):
            return False


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
