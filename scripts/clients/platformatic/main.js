// @platformatic/kafka; what a client program does is told in ../README.md. Its streams join a group: here Consumer.fetch, on which they
// are built, is called for all partitions.
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Consumer, Producer, stringSerializers } from '@platformatic/kafka'

const installed = new URL('node_modules/@platformatic/kafka/package.json', import.meta.url)
const about = { client: '@platformatic/kafka', version: JSON.parse(readFileSync(installed)).version }
const [what, bootstrap, topic, ...rest] = process.argv.slice(2)
const client = { clientId: 'clients', bootstrapBrokers: bootstrap.split(',') }

async function produce(_partitions, producerNumber, count, rate) {
  const told = { acknowledged: 0, failed: 0 }
  const producer = new Producer({ ...client, serializers: stringSerializers })
  const [begin, sends] = [Date.now(), []]
  for (let n = 0; n < count; n++) {
    await sleep(Math.max(0, begin + (n * 1000) / rate - Date.now()))
    const key = String(n % 24)
    const value = `${producerNumber}:${key}:${n}:${'x'.repeat(100)}`
    const sent = producer.send({ messages: [{ topic, key, value }] }).then(
      ({ offsets: [at] }) => {
        told.acknowledged++
        console.log(`ack ${n} ${at.partition} ${at.offset}`)
      },
      error => {
        told.failed++
        console.log(`failed ${n} ${[error, ...(error.errors ?? [])].map(each => each.message).join('; ')}`)
      }
    )
    sends.push(sent)
  }
  await Promise.all(sends)
  await producer.close()
  console.log(JSON.stringify({ ...about, sent: count, ...told }))
}

async function consume(partitions, count) {
  const consumer = new Consumer({ ...client, groupId: 'unused' })
  consumer.topics.track(topic)
  const next = Array(partitions).fill(0n)
  const seen = new Set()
  let consumed = 0
  async function fetchFrom(node, topics) {
    const answer = await consumer.fetch({ node, topics })
    for (const { partitionIndex, records } of answer.responses.flatMap(response => response.partitions)) {
      for (const batch of records ?? []) {
        for (const record of batch.records) {
          const offset = batch.firstOffset + BigInt(record.offsetDelta)
          if (offset < next[partitionIndex]) continue
          console.log(`record ${partitionIndex} ${offset} ${record.key} ${record.value}`)
          next[partitionIndex] = offset + 1n
          seen.add(String(record.value))
          consumed++
        }
      }
    }
  }
  while (seen.size < count) {
    try {
      const found = (await consumer.metadata({ topics: [topic] })).topics.get(topic)
      const asked = new Map()
      found.partitions.forEach(({ leader, leaderEpoch }, partition) => {
        const epochs = { currentLeaderEpoch: leaderEpoch, lastFetchedEpoch: leaderEpoch }
        const one = { partition, fetchOffset: next[partition], partitionMaxBytes: 1048576, ...epochs }
        asked.set(leader, [...(asked.get(leader) ?? []), one])
      })
      await Promise.all([...asked].map(([node, ids]) => fetchFrom(node, [{ topicId: found.id, partitions: ids }])))
    } catch (error) {
      console.log(`error ${[error, ...(error.errors ?? [])].map(each => each.message).join('; ')}`)
    }
  }
  await consumer.close()
  console.log(JSON.stringify({ ...about, consumed }))
}

await { produce, consume }[what](...rest.map(Number))
