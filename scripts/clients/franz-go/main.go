// franz-go; what a client program does is told in ../README.md.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const module = "github.com/twmb/franz-go"

func about() string {
	version := "?"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				version = dependency.Version
			}
		}
	}
	return fmt.Sprintf(`"client": "franz-go", "version": "%s"`, version)
}

func client(options ...kgo.Opt) *kgo.Client {
	opened, err := kgo.NewClient(options...)
	if err != nil {
		panic(err)
	}
	return opened
}

func produce(seeds kgo.Opt, topic string, producerNumber, count, rate int) {
	producer := client(seeds)
	var acknowledged, failed atomic.Int32
	begin := time.Now()
	for n := range count {
		time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / time.Duration(rate))))
		key := strconv.Itoa(n % 24)
		value := fmt.Sprintf("%d:%s:%d:%s", producerNumber, key, n, strings.Repeat("x", 100))
		record := &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}
		producer.Produce(context.Background(), record, func(r *kgo.Record, err error) {
			if err != nil {
				failed.Add(1)
				fmt.Println("failed", n, err)
			} else {
				acknowledged.Add(1)
				fmt.Println("ack", n, r.Partition, r.Offset)
			}
		})
	}
	if err := producer.Flush(context.Background()); err != nil {
		panic(err)
	}
	producer.Close()
	fmt.Printf("{%s, \"sent\": %d, \"acknowledged\": %d, \"failed\": %d}\n", about(), count, acknowledged.Load(), failed.Load())
}

func consume(seeds kgo.Opt, topic string, partitions, count int) {
	assigned := map[int32]kgo.Offset{}
	for p := range partitions {
		assigned[int32(p)] = kgo.NewOffset().AtStart()
	}
	consumer := client(seeds, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: assigned}))
	seen, consumed := map[string]bool{}, 0
	for len(seen) < count {
		fetches := consumer.PollFetches(context.Background())
		fetches.EachError(func(_ string, partition int32, err error) { fmt.Println("error", partition, err) })
		fetches.EachRecord(func(r *kgo.Record) {
			fmt.Println("record", r.Partition, r.Offset, string(r.Key), string(r.Value))
			seen[string(r.Value)] = true
			consumed++
		})
	}
	consumer.Close()
	fmt.Printf("{%s, \"consumed\": %d}\n", about(), consumed)
}

func main() {
	seeds, topic := kgo.SeedBrokers(strings.Split(os.Args[2], ",")...), os.Args[3]
	var numbers []int
	for _, argument := range os.Args[4:] {
		number, err := strconv.Atoi(argument)
		if err != nil {
			panic(err)
		}
		numbers = append(numbers, number)
	}
	if os.Args[1] == "produce" {
		produce(seeds, topic, numbers[1], numbers[2], numbers[3])
	} else {
		consume(seeds, topic, numbers[0], numbers[1])
	}
}
