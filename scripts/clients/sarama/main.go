// sarama; what a client program does is told in ../README.md.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

const module = "github.com/IBM/sarama"

func about() string {
	version := "?"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				version = dependency.Version
			}
		}
	}
	return fmt.Sprintf(`"client": "sarama", "version": "%s"`, version)
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func produce(bootstrap []string, topic string, producerNumber, count, rate int) {
	config := sarama.NewConfig()
	// Without it the producer does not tell what was acknowledged.
	config.Producer.Return.Successes = true
	producer := must(sarama.NewAsyncProducer(bootstrap, config))
	acknowledged, failed := 0, 0
	var answers sync.WaitGroup
	answers.Add(2)
	go func() {
		defer answers.Done()
		for m := range producer.Successes() {
			acknowledged++
			fmt.Println("ack", m.Metadata, m.Partition, m.Offset)
		}
	}()
	go func() {
		defer answers.Done()
		for e := range producer.Errors() {
			failed++
			fmt.Println("failed", e.Msg.Metadata, e.Err)
		}
	}()
	begin := time.Now()
	for n := range count {
		time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / time.Duration(rate))))
		key := strconv.Itoa(n % 24)
		value := fmt.Sprintf("%d:%s:%d:%s", producerNumber, key, n, strings.Repeat("x", 100))
		message := &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(key), Value: sarama.StringEncoder(value), Metadata: n}
		producer.Input() <- message
	}
	producer.AsyncClose()
	answers.Wait()
	fmt.Printf("{%s, \"sent\": %d, \"acknowledged\": %d, \"failed\": %d}\n", about(), count, acknowledged, failed)
}

func consume(bootstrap []string, topic string, partitions, count int) {
	config := sarama.NewConfig()
	// Without it errors are only logged.
	config.Consumer.Return.Errors = true
	consumer := must(sarama.NewConsumer(bootstrap, config))
	messages := make(chan *sarama.ConsumerMessage)
	for p := range partitions {
		partition := must(consumer.ConsumePartition(topic, int32(p), sarama.OffsetOldest))
		go func() {
			for m := range partition.Messages() {
				messages <- m
			}
		}()
		go func() {
			for e := range partition.Errors() {
				fmt.Println("error", e)
			}
		}()
	}
	seen, consumed := map[string]bool{}, 0
	for len(seen) < count {
		m := <-messages
		fmt.Println("record", m.Partition, m.Offset, string(m.Key), string(m.Value))
		seen[string(m.Value)] = true
		consumed++
	}
	fmt.Printf("{%s, \"consumed\": %d}\n", about(), consumed)
}

func main() {
	bootstrap, topic := strings.Split(os.Args[2], ","), os.Args[3]
	var numbers []int
	for _, argument := range os.Args[4:] {
		numbers = append(numbers, must(strconv.Atoi(argument)))
	}
	if os.Args[1] == "produce" {
		produce(bootstrap, topic, numbers[1], numbers[2], numbers[3])
	} else {
		consume(bootstrap, topic, numbers[0], numbers[1])
	}
}
