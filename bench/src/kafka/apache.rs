// SPDX-License-Identifier: Apache-2.0
//! The peer: one node of Apache Kafka in its combined mode, fetched by Maven, on ports of its own.
//!
//! Owns: fetching, settings, start, stop. The settings are Kafka's defaults but for what a single node needs; the heap is fixed
//! so that a run does not measure its growth.
//! Must not know: the workloads.

use crate::process;
use crate::wire::Connection;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The version measured against.
pub const VERSION: &str = "4.3.1";

/// Heap and collector: a fixed heap of 2 GiB and short pauses.
const JAVA_FLAGS: [&str; 6] = [
    "-Xms2g",
    "-Xmx2g",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-Djava.awt.headless=true",
];

/// Puts Kafka's jars into `folder/kafka-VERSION`, once.
///
/// # Errors
/// A sentence that says what is missing, to stand behind "skipped: …, because".
pub fn fetch(folder: &Path) -> Result<PathBuf, String> {
    let jars = folder.join(format!("kafka-{VERSION}"));
    if jars.join("complete").exists() {
        return Ok(jars);
    }
    for program in ["java", "mvn"] {
        process::find_program(program).ok_or_else(|| format!("`{program}` is not installed"))?;
    }
    fs::create_dir_all(&jars).map_err(|error| format!("{}: {error}", jars.display()))?;
    let dependency = |artifact| {
        format!(
            "<dependency><groupId>org.apache.kafka</groupId><artifactId>{artifact}</artifactId><version>{VERSION}</version></dependency>"
        )
    };
    let project = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>polylog.bench</groupId>\
         <artifactId>apache-kafka</artifactId><version>1</version><packaging>pom</packaging><dependencies>{}{}</dependencies></project>\n",
        dependency("kafka_2.13"),
        dependency("kafka-tools")
    );
    let pom = folder.join("apache-kafka.xml");
    fs::write(&pom, project).map_err(|error| format!("{}: {error}", pom.display()))?;
    let done = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("mvn: {error}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stdout);
        let why = said.lines().find(|line| line.contains("ERROR")).unwrap_or("it said nothing").to_owned();
        return Err(format!("mvn could not fetch Apache Kafka {VERSION}: {why}"));
    }
    fs::write(jars.join("complete"), VERSION).map_err(|error| error.to_string())?;
    Ok(jars)
}

/// A running node. Dropping it stops it.
pub struct ApacheKafka {
    child: Child,
    pub address: SocketAddr,
    /// From the start of the process to the first answered request.
    pub first_answer: Duration,
}

impl ApacheKafka {
    /// Formats `data` if it is new, starts the node and waits until it answers.
    pub fn start(jars: &Path, data: &Path) -> io::Result<ApacheKafka> {
        fs::create_dir_all(data)?;
        let (kafka, controller) = (free_address()?, free_address()?);
        let settings = data.with_extension("properties");
        fs::write(&settings, properties(kafka, controller, data))?;
        let log = data.with_extension("log");
        let classes = format!("{}/*", jars.display());
        if !data.join("meta.properties").exists() {
            let mut id = [0; 16];
            File::open("/dev/urandom")?.read_exact(&mut id)?;
            let done = Command::new("java")
                .args(["-cp", &classes, "kafka.tools.StorageTool", "format", "--standalone", "-t"])
                .arg(model::ids::base64_url(&id))
                .arg("-c")
                .arg(&settings)
                .stdin(Stdio::null())
                .stdout(File::create(&log)?)
                .stderr(Stdio::null())
                .status()?;
            if !done.success() {
                return Err(io::Error::other(format!("format failed:\n{}", process::tail_of(&log))));
            }
        }
        let begin = Instant::now();
        let child = Command::new("java")
            .args(JAVA_FLAGS)
            .args(["-cp", &classes, "kafka.Kafka"])
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::create(data.with_extension("err"))?)
            .spawn()?;
        let mut node = ApacheKafka { child, address: kafka, first_answer: Duration::ZERO };
        loop {
            let answer = Connection::open(kafka, Duration::from_secs(5))
                .map_err(|error| error.to_string())
                .and_then(|mut connection| connection.metadata(&[], false).map_err(|error| error.to_string()));
            if answer.is_ok() {
                node.first_answer = begin.elapsed();
                return Ok(node);
            }
            if node.child.try_wait()?.is_some() || begin.elapsed() > Duration::from_secs(90) {
                return Err(io::Error::other(format!("it did not start:\n{}", process::tail_of(&log))));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ApacheKafka {
    fn drop(&mut self) {
        let _ = process::stop(&mut self.child, Duration::from_secs(20));
    }
}

/// A loopback address whose port was free a moment ago: Kafka cannot say which port it was given, so it must be told one.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn properties(kafka: SocketAddr, controller: SocketAddr, data: &Path) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.bootstrap.servers={controller}\n\
         listeners=PLAINTEXT://{kafka},CONTROLLER://{controller}\n\
         advertised.listeners=PLAINTEXT://{kafka}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=PLAINTEXT\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         message.max.bytes=10485760\n",
        data.display()
    )
}
