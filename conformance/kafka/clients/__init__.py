# SPDX-License-Identifier: Apache-2.0
"""The clients under test. A new one is a new file here and a line in `ALL`."""

import os

from clients.aiokafka_client import Aiokafka
from clients.confluent import Confluent
from clients.kafka_python import KafkaPython
from clients.kcat import Kcat
from clients.line_program import FranzGo, Java, KafkaGo, KafkaJs, Sarama

ALL = [Kcat, Confluent, KafkaPython, Aiokafka, KafkaJs, Java, FranzGo, Sarama, KafkaGo]


def configure(programs):
    """Tells the clients that are programs where those are: name -> path."""
    if "kcat" in programs:
        Kcat.program = programs["kcat"]
    if "java" in programs:
        folder = programs["java"]
        path = os.pathsep.join([os.path.join(folder, "classes"), os.path.join(folder, "jars", "*")])
        Java.command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", path, "Client"]
    for kind in (FranzGo, Sarama, KafkaGo):
        if kind.name in programs:
            kind.command = [programs[kind.name]]
    if "kafkajs" in programs:
        KafkaJs.command = ["node", programs["kafkajs"]]
