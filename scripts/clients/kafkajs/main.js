// kafkajs; what a client program does is told in ../README.md. It has no consumer without a group: what its consumer does below the
// group, with its own cluster, brokers, batches and answers to errors, is done here for all partitions.
const { Kafka } = require('kafkajs')
const Batch = require('kafkajs/src/consumer/batch')
const { setTimeout: sleep } = require('timers/promises')

const about = { client: 'kafkajs', version: require('kafkajs/package.json').version }
const [what, bootstrap, topic, ...rest] = process.argv.slice(2)
const numbers = rest.map(Number)
const kafka = new Kafka({ brokers: bootstrap.split(',') })

async function produce(_partitions, producerNumber, count, rate) {
  const told = { acknowledged: 0, failed: 0 }
  const producer = kafka.producer()
  await producer.connect()
  const [begin, sends] = [Date.now(), []]
  for (let n = 0; n < count; n++) {
    await sleep(Math.max(0, begin + (n * 1000) / rate - Date.now()))
    const key = String(n % 24)
    const value = `${producerNumber}:${key}:${n}:${'x'.repeat(100)}`
    const sent = producer.send({ topic, messages: [{ key, value }] }).then(
      ([answer]) => {
        told.acknowledged++
        console.log(`ack ${n} ${answer.partition} ${answer.baseOffset}`)
      },
      error => {
        told.failed++
        console.log(`failed ${n} ${error}`)
      }
    )
    sends.push(sent)
  }
  await Promise.all(sends)
  await producer.disconnect()
  console.log(JSON.stringify({ ...about, sent: count, ...told }))
}

// As ConsumerGroup.recoverFromFetch of kafkajs.
async function recover(cluster, error) {
  if (error.name === 'KafkaJSConnectionClosedError') cluster.removeBroker({ host: error.host, port: error.port })
  else if (!error.retriable && error.name !== 'KafkaJSBrokerNotFound') console.log(`error ${error}`)
  await sleep(300)
  await cluster.refreshMetadata().catch(again => console.log(`error ${again}`))
}

async function consume(partitions, count) {
  // Private to kafkajs, and the only way to a cluster with its defaults.
  const create = Object.getOwnPropertySymbols(kafka).find(s => s.description === 'private:Kafka:createCluster')
  const cluster = kafka[create]({ metadataMaxAge: 300000 })
  await cluster.connect()
  await cluster.addTargetTopic(topic)
  const next = Array(partitions).fill(0n)
  const seen = new Set()
  let consumed = 0
  async function fetchFrom(nodeId, ids) {
    const broker = await cluster.findBroker({ nodeId })
    const asked = ids.map(partition => ({ partition, fetchOffset: String(next[partition]), maxBytes: 1048576 }))
    const answer = await broker.fetch({ isolationLevel: 1, topics: [{ topic, partitions: asked }] })
    for (const found of answer.responses.flatMap(response => response.partitions)) {
      for (const m of new Batch(topic, String(next[found.partition]), found).messages) {
        console.log(`record ${found.partition} ${m.offset} ${m.key} ${m.value}`)
        next[found.partition] = BigInt(m.offset) + 1n
        seen.add(String(m.value))
        consumed++
      }
    }
  }
  while (seen.size < count) {
    try {
      const leaders = cluster.findLeaderForPartitions(topic, [...next.keys()])
      await Promise.all(Object.entries(leaders).map(([nodeId, ids]) => fetchFrom(nodeId, ids)))
    } catch (error) {
      await recover(cluster, error)
    }
  }
  await cluster.disconnect()
  console.log(JSON.stringify({ ...about, consumed }))
}

;({ produce, consume })[what](...numbers)
