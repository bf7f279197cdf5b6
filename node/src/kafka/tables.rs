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
    // FindCoordinatorRequest
    Schema {
        key: 10,
        flexible: 3,
        fields: &[field(0, 3, Text), field(1, 32767, Fixed(1)), field(4, 32767, Array(&Text))],
    },
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
    // DescribeClusterRequest
    Schema {
        key: 60,
        flexible: 0,
        fields: &[field(0, 32767, Fixed(1)), field(1, 32767, Fixed(1)), field(2, 32767, Fixed(1))],
    },
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
