//! Fields, types and versions of the requests served. Written by `scripts/kafka-tables.py` from the message
//! schemas of Apache Kafka 4.3.1; not edited by hand.

use super::bounds::Kind::{Array, Blob, Fixed, Maybe, Struct, Text};
use super::bounds::{Schema, field, tagged};

/// One schema for each API that is served, by rising API key.
pub(super) const SCHEMAS: &[Schema] = &[
    // ProduceRequest
    Schema {
        key: 0,
        flexible: 9,
        fields: &[
            field(3, 32767, Text),
            field(0, 32767, Fixed(2)),
            field(0, 32767, Fixed(4)),
            field(
                0,
                32767,
                Array(&Struct(&[
                    field(0, 12, Text),
                    field(13, 32767, Fixed(16)),
                    field(0, 32767, Array(&Struct(&[field(0, 32767, Fixed(4)), field(0, 32767, Blob)]))),
                ])),
            ),
        ],
    },
    // FetchRequest
    Schema {
        key: 1,
        flexible: 12,
        fields: &[
            tagged(0, 12, 32767, Text),
            field(0, 14, Fixed(4)),
            tagged(1, 15, 32767, Struct(&[field(15, 32767, Fixed(4)), field(15, 32767, Fixed(8))])),
            field(0, 32767, Fixed(4)),
            field(0, 32767, Fixed(4)),
            field(3, 32767, Fixed(4)),
            field(4, 32767, Fixed(1)),
            field(7, 32767, Fixed(4)),
            field(7, 32767, Fixed(4)),
            field(
                0,
                32767,
                Array(&Struct(&[
                    field(0, 12, Text),
                    field(13, 32767, Fixed(16)),
                    field(
                        0,
                        32767,
                        Array(&Struct(&[
                            field(0, 32767, Fixed(4)),
                            field(9, 32767, Fixed(4)),
                            field(0, 32767, Fixed(8)),
                            field(12, 32767, Fixed(4)),
                            field(5, 32767, Fixed(8)),
                            field(0, 32767, Fixed(4)),
                            tagged(0, 17, 32767, Fixed(16)),
                            tagged(1, 18, 32767, Fixed(8)),
                        ])),
                    ),
                ])),
            ),
            field(
                7,
                32767,
                Array(&Struct(&[
                    field(7, 12, Text),
                    field(13, 32767, Fixed(16)),
                    field(7, 32767, Array(&Fixed(4))),
                ])),
            ),
            field(11, 32767, Text),
        ],
    },
    // ListOffsetsRequest
    Schema {
        key: 2,
        flexible: 6,
        fields: &[
            field(0, 32767, Fixed(4)),
            field(2, 32767, Fixed(1)),
            field(
                0,
                32767,
                Array(&Struct(&[
                    field(0, 32767, Text),
                    field(
                        0,
                        32767,
                        Array(&Struct(&[
                            field(0, 32767, Fixed(4)),
                            field(4, 32767, Fixed(4)),
                            field(0, 32767, Fixed(8)),
                        ])),
                    ),
                ])),
            ),
            field(10, 32767, Fixed(4)),
        ],
    },
    // MetadataRequest
    Schema {
        key: 3,
        flexible: 9,
        fields: &[
            field(0, 32767, Array(&Struct(&[field(10, 32767, Fixed(16)), field(0, 32767, Text)]))),
            field(4, 32767, Fixed(1)),
            field(8, 10, Fixed(1)),
            field(8, 32767, Fixed(1)),
        ],
    },
    // OffsetCommitRequest
    Schema {
        key: 8,
        flexible: 8,
        fields: &[
            field(0, 32767, Text),
            field(1, 32767, Fixed(4)),
            field(1, 32767, Text),
            field(7, 32767, Text),
            field(2, 4, Fixed(8)),
            field(
                0,
                32767,
                Array(&Struct(&[
                    field(0, 9, Text),
                    field(10, 32767, Fixed(16)),
                    field(
                        0,
                        32767,
                        Array(&Struct(&[
                            field(0, 32767, Fixed(4)),
                            field(0, 32767, Fixed(8)),
                            field(6, 32767, Fixed(4)),
                            field(0, 32767, Text),
                        ])),
                    ),
                ])),
            ),
        ],
    },
    // OffsetFetchRequest
    Schema {
        key: 9,
        flexible: 6,
        fields: &[
            field(0, 7, Text),
            field(0, 7, Array(&Struct(&[field(0, 7, Text), field(0, 7, Array(&Fixed(4)))]))),
            field(
                8,
                32767,
                Array(&Struct(&[
                    field(8, 32767, Text),
                    field(9, 32767, Text),
                    field(9, 32767, Fixed(4)),
                    field(
                        8,
                        32767,
                        Array(&Struct(&[
                            field(8, 9, Text),
                            field(10, 32767, Fixed(16)),
                            field(8, 32767, Array(&Fixed(4))),
                        ])),
                    ),
                ])),
            ),
            field(7, 32767, Fixed(1)),
        ],
    },
    // FindCoordinatorRequest
    Schema {
        key: 10,
        flexible: 3,
        fields: &[field(0, 3, Text), field(1, 32767, Fixed(1)), field(4, 32767, Array(&Text))],
    },
    // JoinGroupRequest
    Schema {
        key: 11,
        flexible: 6,
        fields: &[
            field(0, 32767, Text),
            field(0, 32767, Fixed(4)),
            field(1, 32767, Fixed(4)),
            field(0, 32767, Text),
            field(5, 32767, Text),
            field(0, 32767, Text),
            field(0, 32767, Array(&Struct(&[field(0, 32767, Text), field(0, 32767, Blob)]))),
            field(8, 32767, Text),
        ],
    },
    // HeartbeatRequest
    Schema {
        key: 12,
        flexible: 4,
        fields: &[
            field(0, 32767, Text),
            field(0, 32767, Fixed(4)),
            field(0, 32767, Text),
            field(3, 32767, Text),
        ],
    },
    // LeaveGroupRequest
    Schema {
        key: 13,
        flexible: 4,
        fields: &[
            field(0, 32767, Text),
            field(0, 2, Text),
            field(
                3,
                32767,
                Array(&Struct(&[field(3, 32767, Text), field(3, 32767, Text), field(5, 32767, Text)])),
            ),
        ],
    },
    // SyncGroupRequest
    Schema {
        key: 14,
        flexible: 4,
        fields: &[
            field(0, 32767, Text),
            field(0, 32767, Fixed(4)),
            field(0, 32767, Text),
            field(3, 32767, Text),
            field(5, 32767, Text),
            field(5, 32767, Text),
            field(0, 32767, Array(&Struct(&[field(0, 32767, Text), field(0, 32767, Blob)]))),
        ],
    },
    // DescribeGroupsRequest
    Schema { key: 15, flexible: 5, fields: &[field(0, 32767, Array(&Text)), field(3, 32767, Fixed(1))] },
    // ListGroupsRequest
    Schema { key: 16, flexible: 3, fields: &[field(4, 32767, Array(&Text)), field(5, 32767, Array(&Text))] },
    // ApiVersionsRequest
    Schema { key: 18, flexible: 3, fields: &[field(3, 32767, Text), field(3, 32767, Text)] },
    // CreateTopicsRequest
    Schema {
        key: 19,
        flexible: 5,
        fields: &[
            field(
                0,
                32767,
                Array(&Struct(&[
                    field(0, 32767, Text),
                    field(0, 32767, Fixed(4)),
                    field(0, 32767, Fixed(2)),
                    field(
                        0,
                        32767,
                        Array(&Struct(&[field(0, 32767, Fixed(4)), field(0, 32767, Array(&Fixed(4)))])),
                    ),
                    field(0, 32767, Array(&Struct(&[field(0, 32767, Text), field(0, 32767, Text)]))),
                ])),
            ),
            field(0, 32767, Fixed(4)),
            field(1, 32767, Fixed(1)),
        ],
    },
    // DeleteTopicsRequest
    Schema {
        key: 20,
        flexible: 4,
        fields: &[
            field(6, 32767, Array(&Struct(&[field(6, 32767, Text), field(6, 32767, Fixed(16))]))),
            field(0, 5, Array(&Text)),
            field(0, 32767, Fixed(4)),
        ],
    },
    // DeleteRecordsRequest
    Schema {
        key: 21,
        flexible: 2,
        fields: &[
            field(
                0,
                32767,
                Array(&Struct(&[
                    field(0, 32767, Text),
                    field(0, 32767, Array(&Struct(&[field(0, 32767, Fixed(4)), field(0, 32767, Fixed(8))]))),
                ])),
            ),
            field(0, 32767, Fixed(4)),
        ],
    },
    // InitProducerIdRequest
    Schema {
        key: 22,
        flexible: 2,
        fields: &[
            field(0, 32767, Text),
            field(0, 32767, Fixed(4)),
            field(3, 32767, Fixed(8)),
            field(3, 32767, Fixed(2)),
            field(6, 32767, Fixed(1)),
            field(6, 32767, Fixed(1)),
        ],
    },
    // OffsetForLeaderEpochRequest
    Schema {
        key: 23,
        flexible: 4,
        fields: &[
            field(3, 32767, Fixed(4)),
            field(
                0,
                32767,
                Array(&Struct(&[
                    field(0, 32767, Text),
                    field(
                        0,
                        32767,
                        Array(&Struct(&[
                            field(0, 32767, Fixed(4)),
                            field(2, 32767, Fixed(4)),
                            field(0, 32767, Fixed(4)),
                        ])),
                    ),
                ])),
            ),
        ],
    },
    // DescribeConfigsRequest
    Schema {
        key: 32,
        flexible: 4,
        fields: &[
            field(
                0,
                32767,
                Array(&Struct(&[
                    field(0, 32767, Fixed(1)),
                    field(0, 32767, Text),
                    field(0, 32767, Array(&Text)),
                ])),
            ),
            field(1, 32767, Fixed(1)),
            field(3, 32767, Fixed(1)),
        ],
    },
    // AlterConfigsRequest
    Schema {
        key: 33,
        flexible: 2,
        fields: &[
            field(
                0,
                32767,
                Array(&Struct(&[
                    field(0, 32767, Fixed(1)),
                    field(0, 32767, Text),
                    field(0, 32767, Array(&Struct(&[field(0, 32767, Text), field(0, 32767, Text)]))),
                ])),
            ),
            field(0, 32767, Fixed(1)),
        ],
    },
    // DescribeLogDirsRequest
    Schema {
        key: 35,
        flexible: 2,
        fields: &[field(
            0,
            32767,
            Array(&Struct(&[field(0, 32767, Text), field(0, 32767, Array(&Fixed(4)))])),
        )],
    },
    // CreatePartitionsRequest
    Schema {
        key: 37,
        flexible: 2,
        fields: &[
            field(
                0,
                32767,
                Array(&Struct(&[
                    field(0, 32767, Text),
                    field(0, 32767, Fixed(4)),
                    field(0, 32767, Array(&Struct(&[field(0, 32767, Array(&Fixed(4)))]))),
                ])),
            ),
            field(0, 32767, Fixed(4)),
            field(0, 32767, Fixed(1)),
        ],
    },
    // DeleteGroupsRequest
    Schema { key: 42, flexible: 2, fields: &[field(0, 32767, Array(&Text))] },
    // ElectLeadersRequest
    Schema {
        key: 43,
        flexible: 2,
        fields: &[
            field(1, 32767, Fixed(1)),
            field(0, 32767, Array(&Struct(&[field(0, 32767, Text), field(0, 32767, Array(&Fixed(4)))]))),
            field(0, 32767, Fixed(4)),
        ],
    },
    // IncrementalAlterConfigsRequest
    Schema {
        key: 44,
        flexible: 1,
        fields: &[
            field(
                0,
                32767,
                Array(&Struct(&[
                    field(0, 32767, Fixed(1)),
                    field(0, 32767, Text),
                    field(
                        0,
                        32767,
                        Array(&Struct(&[
                            field(0, 32767, Text),
                            field(0, 32767, Fixed(1)),
                            field(0, 32767, Text),
                        ])),
                    ),
                ])),
            ),
            field(0, 32767, Fixed(1)),
        ],
    },
    // AlterPartitionReassignmentsRequest
    Schema {
        key: 45,
        flexible: 0,
        fields: &[
            field(0, 32767, Fixed(4)),
            field(1, 32767, Fixed(1)),
            field(
                0,
                32767,
                Array(&Struct(&[
                    field(0, 32767, Text),
                    field(
                        0,
                        32767,
                        Array(&Struct(&[field(0, 32767, Fixed(4)), field(0, 32767, Array(&Fixed(4)))])),
                    ),
                ])),
            ),
        ],
    },
    // ListPartitionReassignmentsRequest
    Schema {
        key: 46,
        flexible: 0,
        fields: &[
            field(0, 32767, Fixed(4)),
            field(0, 32767, Array(&Struct(&[field(0, 32767, Text), field(0, 32767, Array(&Fixed(4)))]))),
        ],
    },
    // OffsetDeleteRequest
    Schema {
        key: 47,
        flexible: 32767,
        fields: &[
            field(0, 32767, Text),
            field(
                0,
                32767,
                Array(&Struct(&[
                    field(0, 32767, Text),
                    field(0, 32767, Array(&Struct(&[field(0, 32767, Fixed(4))]))),
                ])),
            ),
        ],
    },
    // DescribeClientQuotasRequest
    Schema {
        key: 48,
        flexible: 1,
        fields: &[
            field(
                0,
                32767,
                Array(&Struct(&[field(0, 32767, Text), field(0, 32767, Fixed(1)), field(0, 32767, Text)])),
            ),
            field(0, 32767, Fixed(1)),
        ],
    },
    // AlterClientQuotasRequest
    Schema {
        key: 49,
        flexible: 1,
        fields: &[
            field(
                0,
                32767,
                Array(&Struct(&[
                    field(0, 32767, Array(&Struct(&[field(0, 32767, Text), field(0, 32767, Text)]))),
                    field(
                        0,
                        32767,
                        Array(&Struct(&[
                            field(0, 32767, Text),
                            field(0, 32767, Fixed(8)),
                            field(0, 32767, Fixed(1)),
                        ])),
                    ),
                ])),
            ),
            field(0, 32767, Fixed(1)),
        ],
    },
    // DescribeClusterRequest
    Schema {
        key: 60,
        flexible: 0,
        fields: &[field(0, 32767, Fixed(1)), field(1, 32767, Fixed(1)), field(2, 32767, Fixed(1))],
    },
    // ListConfigResourcesRequest
    Schema { key: 74, flexible: 0, fields: &[field(1, 32767, Array(&Fixed(1)))] },
    // DescribeTopicPartitionsRequest
    Schema {
        key: 75,
        flexible: 0,
        fields: &[
            field(0, 32767, Array(&Struct(&[field(0, 32767, Text)]))),
            field(0, 32767, Fixed(4)),
            field(0, 32767, Maybe(&[field(0, 32767, Text), field(0, 32767, Fixed(4))])),
        ],
    },
];

/// Responses that begin with the throttle time: API key, and the first version that does.
pub(super) const THROTTLED: &[(i16, i16)] = &[
    (1, 1),
    (2, 2),
    (3, 3),
    (8, 3),
    (9, 3),
    (10, 1),
    (11, 2),
    (12, 1),
    (13, 1),
    (14, 1),
    (15, 1),
    (16, 1),
    (19, 2),
    (20, 1),
    (21, 0),
    (22, 0),
    (23, 2),
    (24, 0),
    (25, 0),
    (26, 0),
    (28, 0),
    (29, 0),
    (30, 0),
    (31, 0),
    (32, 0),
    (33, 0),
    (34, 0),
    (35, 0),
    (37, 0),
    (42, 0),
    (43, 0),
    (44, 0),
    (45, 0),
    (46, 0),
    (48, 0),
    (49, 0),
    (50, 0),
    (51, 0),
    (56, 0),
    (57, 0),
    (59, 0),
    (60, 0),
    (61, 0),
    (62, 0),
    (63, 0),
    (64, 0),
    (65, 0),
    (66, 0),
    (67, 0),
    (68, 0),
    (69, 0),
    (70, 0),
    (71, 0),
    (72, 0),
    (73, 0),
    (74, 0),
    (75, 0),
    (76, 0),
    (77, 0),
    (78, 0),
    (79, 0),
    (80, 0),
    (81, 0),
    (82, 0),
    (88, 0),
    (89, 0),
    (90, 0),
    (91, 0),
    (92, 0),
];

/// Every API that a broker of Apache Kafka 4.3.1 serves to clients: key, name, first and last version.
pub(super) const KAFKA: &[(i16, &str, i16, i16)] = &[
    (0, "Produce", 3, 13),
    (1, "Fetch", 4, 18),
    (2, "ListOffsets", 1, 11),
    (3, "Metadata", 0, 13),
    (8, "OffsetCommit", 2, 10),
    (9, "OffsetFetch", 1, 10),
    (10, "FindCoordinator", 0, 6),
    (11, "JoinGroup", 0, 9),
    (12, "Heartbeat", 0, 4),
    (13, "LeaveGroup", 0, 5),
    (14, "SyncGroup", 0, 5),
    (15, "DescribeGroups", 0, 6),
    (16, "ListGroups", 0, 5),
    (17, "SaslHandshake", 0, 1),
    (18, "ApiVersions", 0, 4),
    (19, "CreateTopics", 2, 7),
    (20, "DeleteTopics", 1, 6),
    (21, "DeleteRecords", 0, 2),
    (22, "InitProducerId", 0, 6),
    (23, "OffsetForLeaderEpoch", 2, 4),
    (24, "AddPartitionsToTxn", 0, 5),
    (25, "AddOffsetsToTxn", 0, 4),
    (26, "EndTxn", 0, 5),
    (27, "WriteTxnMarkers", 1, 2),
    (28, "TxnOffsetCommit", 0, 5),
    (29, "DescribeAcls", 1, 3),
    (30, "CreateAcls", 1, 3),
    (31, "DeleteAcls", 1, 3),
    (32, "DescribeConfigs", 1, 4),
    (33, "AlterConfigs", 0, 2),
    (34, "AlterReplicaLogDirs", 1, 2),
    (35, "DescribeLogDirs", 1, 5),
    (36, "SaslAuthenticate", 0, 2),
    (37, "CreatePartitions", 0, 3),
    (38, "CreateDelegationToken", 1, 3),
    (39, "RenewDelegationToken", 1, 2),
    (40, "ExpireDelegationToken", 1, 2),
    (41, "DescribeDelegationToken", 1, 3),
    (42, "DeleteGroups", 0, 2),
    (43, "ElectLeaders", 0, 2),
    (44, "IncrementalAlterConfigs", 0, 1),
    (45, "AlterPartitionReassignments", 0, 1),
    (46, "ListPartitionReassignments", 0, 0),
    (47, "OffsetDelete", 0, 0),
    (48, "DescribeClientQuotas", 0, 1),
    (49, "AlterClientQuotas", 0, 1),
    (50, "DescribeUserScramCredentials", 0, 0),
    (51, "AlterUserScramCredentials", 0, 0),
    (55, "DescribeQuorum", 0, 2),
    (57, "UpdateFeatures", 0, 2),
    (60, "DescribeCluster", 0, 2),
    (61, "DescribeProducers", 0, 0),
    (64, "UnregisterBroker", 0, 0),
    (65, "DescribeTransactions", 0, 0),
    (66, "ListTransactions", 0, 2),
    (68, "ConsumerGroupHeartbeat", 0, 1),
    (69, "ConsumerGroupDescribe", 0, 1),
    (71, "GetTelemetrySubscriptions", 0, 0),
    (72, "PushTelemetry", 0, 0),
    (74, "ListConfigResources", 0, 1),
    (75, "DescribeTopicPartitions", 0, 0),
    (76, "ShareGroupHeartbeat", 1, 1),
    (77, "ShareGroupDescribe", 1, 1),
    (78, "ShareFetch", 1, 2),
    (79, "ShareAcknowledge", 1, 2),
    (80, "AddRaftVoter", 0, 1),
    (81, "RemoveRaftVoter", 0, 0),
    (83, "InitializeShareGroupState", 0, 0),
    (84, "ReadShareGroupState", 0, 0),
    (85, "WriteShareGroupState", 0, 1),
    (86, "DeleteShareGroupState", 0, 0),
    (87, "ReadShareGroupStateSummary", 0, 1),
    (88, "StreamsGroupHeartbeat", 0, 0),
    (89, "StreamsGroupDescribe", 0, 0),
    (90, "DescribeShareGroupOffsets", 0, 1),
    (91, "AlterShareGroupOffsets", 0, 0),
    (92, "DeleteShareGroupOffsets", 0, 0),
];
