// SPDX-License-Identifier: Apache-2.0
// kafkajs behind one JSON request a line (clients/line_program.py says what each means).

const readline = require('node:readline')
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require('kafkajs')
const lz4 = require('lz4js')
const xxh32 = require('lz4js/xxh32.js')
const snappy = require('snappyjs')
const zstd = require('@bokuweb/zstd-wasm')

const CALL_MS_MAX = 30_000
const HEARTBEAT_MS = 500
const TYPES = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

// Snappy may come in the framing of its Java library: a head of 16 bytes, then blocks with their length before them.
function snappyFrom(bytes) {
  if (!bytes.subarray(0, 8).equals(Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]))) {
    return snappy.uncompress(bytes)
  }
  const pieces = []
  for (let at = 16; at < bytes.length; ) {
    const length = bytes.readInt32BE(at)
    pieces.push(snappy.uncompress(bytes.subarray(at + 4, at + 4 + length)))
    at += 4 + length
  }
  return Buffer.concat(pieces)
}

// Frame by hand, blocks by the library: it takes a block's checksum for a block.
function lz4From(bytes) {
  const [flags, block] = [bytes[4], bytes[5]]
  const first = 7 + (flags & 8 ? 8 : 0) + (flags & 1 ? 4 : 0)
  const blocks = []
  for (let at = first, size; (size = bytes.readUInt32LE(at) & 0x7fffffff) !== 0; at += 4 + size + (flags & 16 ? 4 : 0)) {
    blocks.push({ from: at + 4, size, plain: bytes.readUInt32LE(at) > 0x7fffffff })
  }
  const whole = Buffer.alloc(blocks.length * (1 << (8 + 2 * ((block >> 4) & 7))))
  let end = 0
  for (const { from, size, plain } of blocks) {
    end = plain ? end + bytes.copy(whole, end, from, from + size) : lz4.decompressBlock(bytes, whole, from, size, end)
  }
  return whole.subarray(0, end)
}

// Java reads only frames whose blocks stand for themselves. One block does, whatever the frame says: so it is made to say it.
function lz4To(bytes) {
  const frame = Buffer.from(lz4.compress(bytes))
  frame[4] |= 0x20
  frame[6] = xxh32.hash(0, frame, 4, 2) >> 8
  return frame
}

CompressionCodecs[CompressionTypes.Snappy] = () => ({
  compress: async encoder => snappy.compress(encoder.buffer),
  decompress: async bytes => snappyFrom(bytes),
})
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4To(encoder.buffer),
  decompress: async bytes => lz4From(bytes),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async bytes => Buffer.from(zstd.decompress(bytes)),
})

const encoded = bytes => (bytes === null || bytes === undefined ? null : Buffer.from(bytes).toString('base64'))
const decoded = text => (text === null ? null : Buffer.from(text, 'base64'))

// What came, until it is asked for.
class Queue {
  constructor() {
    this.records = []
    this.failure = null
    this.wake = () => {}
  }

  put(record) {
    this.records.push(record)
    this.wake()
  }

  fail(error) {
    this.failure = error
    this.wake()
  }

  async take(least, most, deadlineMs) {
    const end = Date.now() + deadlineMs
    while (this.records.length < least && !this.failure && Date.now() < end) {
      await new Promise(resolve => {
        const timer = setTimeout(resolve, Math.max(0, end - Date.now()))
        this.wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    if (this.records.length === 0 && this.failure) {
      const failure = this.failure
      this.failure = null
      throw failure
    }
    return this.records.splice(0, most)
  }
}

function told(topic, partition, message) {
  const headers = []
  for (const [name, value] of Object.entries(message.headers || {})) {
    for (const each of Array.isArray(value) ? value : [value]) {
      headers.push([name, encoded(each)])
    }
  }
  return {
    topic,
    partition,
    key: encoded(message.key),
    value: encoded(message.value),
    headers,
    timestamp_ms: Number(message.timestamp),
    offset: Number(message.offset),
  }
}

function message(record) {
  const headers = {}
  for (const [name, value] of record.headers) {
    const piece = decoded(value)
    headers[name] = name in headers ? [].concat(headers[name], piece) : piece
  }
  return {
    key: decoded(record.key),
    value: decoded(record.value),
    headers,
    partition: record.partition,
    timestamp: record.timestamp_ms === null ? undefined : String(record.timestamp_ms),
  }
}

class Program {
  constructor(address) {
    this.kafka = new Kafka({
      clientId: 'conformance',
      brokers: [address],
      logLevel: logLevel.NOTHING,
      retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 240 },
    })
    this.producers = new Map()
    this.readers = new Map()
    this.member = null
    this.keptAdmin = null
  }

  async admin() {
    if (this.keptAdmin === null) {
      // What an administrator is refused is to be told, not tried again.
      this.keptAdmin = this.kafka.admin({ retry: { retries: 5 } })
      await this.keptAdmin.connect()
    }
    return this.keptAdmin
  }

  async answer(asked) {
    if (this[asked.do] === undefined) {
      throw new Error(`cannot do ${asked.do}`)
    }
    return (await this[asked.do](asked)) || {}
  }

  async version() {
    return { version: require('kafkajs/package.json').version }
  }

  async open_producer(asked) {
    const inner = this.kafka.producer({
      idempotent: asked.idempotent,
      allowAutoTopicCreation: true,
      createPartitioner: () => ({ message }) => message.partition,
    })
    await inner.connect()
    this.producers.set(asked.producer, { inner, asked, outcomes: [], last: Promise.resolve() })
  }

  async send(asked) {
    const producer = this.producers.get(asked.producer)
    const from = producer.outcomes.length
    asked.records.forEach(() => producer.outcomes.push(null))
    // Its batches are what it is handed at once.
    const batches = []
    let size = Infinity
    for (const record of asked.records) {
      const last = batches[batches.length - 1]
      size += (record.value || '').length
      if (!last || last.topic !== record.topic || size > producer.asked.record_bytes_max) {
        batches.push({ topic: record.topic, messages: [] })
        size = (record.value || '').length
      }
      batches[batches.length - 1].messages.push(message(record))
    }
    // It has no queue of its own: one send after another keeps the order.
    producer.last = producer.last.then(async () => {
      let at = from
      for (const { topic, messages } of batches) {
        let outcome
        try {
          const [answer] = await producer.inner.send({
            topic,
            messages,
            acks: producer.asked.acks,
            compression: TYPES[producer.asked.compression],
          })
          // Of several partitions it tells the first offset of one.
          const told = producer.asked.acks !== 0 && new Set(messages.map(each => each.partition)).size === 1
          outcome = index => (told ? { offset: Number(answer.baseOffset) + index } : {})
        } catch (error) {
          outcome = () => refused(error)
        }
        messages.forEach((_, index) => (producer.outcomes[at + index] = outcome(index)))
        at += messages.length
      }
    })
  }

  async flush(asked) {
    const producer = this.producers.get(asked.producer)
    await Promise.race([producer.last, new Promise(resolve => setTimeout(resolve, asked.deadline_ms).unref())])
    const outcomes = producer.outcomes.map(each => each || { code: -1, error: 'not settled at the deadline' })
    producer.outcomes = []
    return { outcomes }
  }

  async close_producer(asked) {
    await this.producers.get(asked.producer).inner.disconnect()
    this.producers.delete(asked.producer)
  }

  // It reads in groups only: each reader is a group of its own, that looks at one partition and commits nothing.
  async open_reader(asked) {
    let offset = asked.number
    if (asked.at !== 'offset') {
      const ends = await this.offsets(asked)
      offset = ends.earliest
      if (asked.at === 'latest') {
        offset = ends.latest
      } else if (asked.at === 'time') {
        const found = (await this.offset_at({ ...asked, timestamp_ms: asked.number })).offset
        offset = found === null ? ends.latest : found
      }
    }
    const queue = new Queue()
    const inner = this.kafka.consumer({
      groupId: `reader-${process.pid}-${asked.reader}`,
      maxWaitTimeInMs: asked.wait_ms,
      maxBytesPerPartition: 4 << 20,
      readUncommitted: asked.isolation !== 'read_committed',
      heartbeatInterval: HEARTBEAT_MS,
      retry: { retries: 5, initialRetryTime: 50 },
    })
    await inner.connect()
    await inner.subscribe({ topics: [asked.topic], fromBeginning: true })
    inner.on(inner.events.CRASH, event => queue.fail(event.payload.error))
    const ready = new Promise(resolve => inner.on(inner.events.GROUP_JOIN, resolve))
    await inner.run({
      autoCommit: false,
      eachMessage: async ({ topic, partition, message }) => {
        if (partition === asked.partition && Number(message.offset) >= offset) {
          queue.put(told(topic, partition, message))
        }
      },
    })
    inner.seek({ topic: asked.topic, partition: asked.partition, offset: String(offset) })
    await ready
    this.readers.set(asked.reader, { inner, queue })
  }

  async take(asked) {
    return { records: await this.readers.get(asked.reader).queue.take(asked.count, asked.count, asked.deadline_ms) }
  }

  async close_reader(asked) {
    // A fetch that waits at the end of a partition is no reason to wait for it.
    this.readers.get(asked.reader).inner.disconnect().catch(() => {})
    this.readers.delete(asked.reader)
  }

  async offsets(asked) {
    const ends = await (await this.admin()).fetchTopicOffsets(asked.topic)
    const mine = ends.find(each => each.partition === asked.partition)
    return { earliest: Number(mine.low), latest: Number(mine.high) }
  }

  async offset_at(asked) {
    const ends = await this.offsets(asked)
    const found = await (await this.admin()).fetchTopicOffsetsByTimestamp(asked.topic, asked.timestamp_ms)
    const offset = Number(found.find(each => each.partition === asked.partition).offset)
    // It tells the end where no record is that late.
    return { offset: offset === ends.latest ? null : offset }
  }

  async create_topic(asked) {
    const configEntries = Object.entries(asked.settings).map(([name, value]) => ({ name, value }))
    const topic = { topic: asked.topic, numPartitions: asked.partitions, replicationFactor: 1, configEntries }
    const made = await (await this.admin()).createTopics({ topics: [topic], waitForLeaders: true })
    if (!made) {
      // How it tells that the topic is there already.
      return { code: 36, error: 'not made' }
    }
  }

  async delete_topic(asked) {
    await (await this.admin()).deleteTopics({ topics: [asked.topic] })
  }

  async topics() {
    return { topics: await (await this.admin()).listTopics() }
  }

  async describe_configs(asked) {
    const type = asked.kind === 'topic' ? ConfigResourceTypes.TOPIC : ConfigResourceTypes.BROKER
    const answer = await (await this.admin()).describeConfigs({ resources: [{ type, name: asked.name }], includeSynonyms: false })
    const configs = {}
    for (const entry of answer.resources[0].configEntries) {
      configs[entry.configName] = [entry.configValue, entry.configSource === undefined ? null : entry.configSource]
    }
    return { configs }
  }

  async alter_configs(asked) {
    const type = asked.kind === 'topic' ? ConfigResourceTypes.TOPIC : ConfigResourceTypes.BROKER
    const configEntries = Object.entries(asked.settings).map(([name, value]) => ({ name, value }))
    await (await this.admin()).alterConfigs({ resources: [{ type, name: asked.name, configEntries }], validateOnly: false })
  }

  async create_partitions(asked) {
    const topicPartitions = [{ topic: asked.topic, count: asked.count }]
    await (await this.admin()).createPartitions({ topicPartitions })
  }

  async delete_records(asked) {
    const partitions = [{ partition: asked.partition, offset: String(asked.before) }]
    // Its administrator must have heard of the topic.
    await (await this.admin()).fetchTopicMetadata({ topics: [asked.topic] })
    await (await this.admin()).deleteTopicRecords({ topic: asked.topic, partitions })
    // It does not tell what is left; that is looked for.
    return { low: (await this.offsets(asked)).earliest }
  }

  async groups() {
    return { groups: (await (await this.admin()).listGroups()).groups.map(group => group.groupId) }
  }

  async describe_group(asked) {
    const [group] = (await (await this.admin()).describeGroups([asked.group])).groups
    if (group.errorCode) {
      return { code: group.errorCode, error: 'describing' }
    }
    return { state: group.state.toLowerCase(), members: group.members.length }
  }

  async delete_group(asked) {
    try {
      await (await this.admin()).deleteGroups([asked.group])
    } catch (error) {
      const [failed] = error.groups || []
      return failed ? { code: failed.errorCode, error: String(error) } : refused(error)
    }
  }

  async group_offsets(asked) {
    const offsets = []
    for (const { topic, partitions } of await (await this.admin()).fetchOffsets({ groupId: asked.group })) {
      partitions.forEach(each => offsets.push([topic, each.partition, Number(each.offset)]))
    }
    return { offsets }
  }

  async set_group_offset(asked) {
    const partitions = [{ partition: asked.partition, offset: String(asked.offset) }]
    await (await this.admin()).setOffsets({ groupId: asked.group, topic: asked.topic, partitions })
  }

  async describe_cluster() {
    const answer = await (await this.admin()).describeCluster()
    return {
      cluster: answer.clusterId,
      controller: answer.controller,
      brokers: answer.brokers.map(broker => [broker.nodeId, broker.host, broker.port]),
    }
  }

  async join(asked) {
    const queue = new Queue()
    const inner = this.kafka.consumer({
      groupId: asked.group,
      sessionTimeout: asked.session_ms,
      rebalanceTimeout: CALL_MS_MAX,
      heartbeatInterval: HEARTBEAT_MS,
      maxWaitTimeInMs: HEARTBEAT_MS,
    })
    const member = { inner, queue, places: [], changes: 0 }
    this.member = member
    inner.on(inner.events.GROUP_JOIN, event => {
      member.places = []
      for (const [topic, partitions] of Object.entries(event.payload.memberAssignment)) {
        partitions.forEach(partition => member.places.push([topic, partition]))
      }
      member.changes += 1
    })
    inner.on(inner.events.REBALANCING, () => (member.places = []))
    const join = async () => {
      await inner.connect()
      await inner.subscribe({ topics: asked.topics, fromBeginning: true })
      await inner.run({
        autoCommit: false,
        eachMessage: async ({ topic, partition, message }) => queue.put(told(topic, partition, message)),
      })
    }
    // Behind the answer, as the protocol of lines wants it.
    join().catch(error => queue.fail(error))
  }

  async member_take(asked) {
    return { records: await this.member.queue.take(1, asked.count, asked.deadline_ms) }
  }

  async assigned() {
    return { partitions: this.member.places, changes: this.member.changes }
  }

  async commit(asked) {
    await this.member.inner.commitOffsets(
      asked.offsets.map(([topic, partition, offset]) => ({ topic, partition, offset: String(offset) }))
    )
  }

  async seek(asked) {
    this.member.inner.seek({ topic: asked.topic, partition: asked.partition, offset: String(asked.number) })
  }

  async pause(asked) {
    this.member.inner.pause([{ topic: asked.topic, partitions: [asked.partition] }])
  }

  async resume(asked) {
    this.member.inner.resume([{ topic: asked.topic, partitions: [asked.partition] }])
  }

  async leave() {
    await this.member.inner.disconnect()
  }
}

// The protocol's number is in the error, in what it was made of, or in one of several.
function code(error) {
  const partitions = (error.partitions || []).map(each => each.error)
  for (const each of [error, error.cause, error.originalError, ...(error.errors || []), ...partitions]) {
    if (each && Number.isInteger(each.code)) {
      return each.code
    }
  }
  return error.cause ? code(error.cause) : -1
}

function refused(error) {
  return { code: code(error), error: String(error) }
}

async function main() {
  await zstd.init()
  const program = new Program(process.argv[2])
  // One request after another, as they were asked.
  for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    let answer
    try {
      answer = await program.answer(JSON.parse(line))
    } catch (error) {
      answer = refused(error)
    }
    process.stdout.write(JSON.stringify(answer) + '\n')
  }
  process.exit(0)
}

main()
