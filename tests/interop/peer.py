# Writes and reads with Confluent's serializers for Python. One job on standard input, its result on standard output:
#
#   {"do": "write", "topic": .., "format": "avro" | "json" | "protobuf", "framing": "prefix" | "header", "key": schema,
#    "value": schema or message name, "records": [[key, value], ..]}
#   {"do": "read", .., "count": n}  ->  [[key, value], ..]
#
# What JSON cannot say is said by {"$bytes": hex}, {"$decimal": text}, {"$uuid": text}, {"$millis": number}; a null value
# is a tombstone.
import datetime, decimal, functools, json, sys, uuid

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import (
    SchemaRegistryClient, header_schema_id_serializer, prefix_schema_id_serializer, topic_subject_name_strategy)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

UTC = datetime.timezone.utc


def thaw(value):
    if isinstance(value, list):
        return [thaw(item) for item in value]
    if isinstance(value, dict):
        for name, make in (("$bytes", bytes.fromhex), ("$decimal", decimal.Decimal), ("$uuid", uuid.UUID),
                           ("$millis", lambda millis: datetime.datetime.fromtimestamp(millis / 1000, UTC))):
            if name in value:
                return make(value[name])
        return {name: thaw(item) for name, item in value.items()}
    return value


def freeze(value):
    if isinstance(value, (list, tuple)):
        return [freeze(item) for item in value]
    if isinstance(value, dict):
        return {name: freeze(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, decimal.Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, uuid.UUID):
        return {"$uuid": str(value)}
    if isinstance(value, datetime.datetime):
        return {"$millis": int(value.timestamp() * 1000)}
    return value


@functools.cache
def messages():
    """shop.Outer has a map, which makes a message of its own in front of the others."""
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    first = file.message_type.add(name="First")
    first.field.add(name="x", number=1, type=5, label=1)
    outer = file.message_type.add(name="Outer")
    entry = outer.nested_type.add(name="CountsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=9, label=1)
    entry.field.add(name="value", number=2, type=5, label=1)
    for name in ("Inner", "Second"):
        nested = outer.nested_type.add(name=name)
        nested.field.add(name="text", number=1, type=9, label=1)
    outer.field.add(name="counts", number=1, type=11, label=3, type_name=".shop.Outer.CountsEntry")
    outer.field.add(name="inner", number=2, type=11, label=1, type_name=".shop.Outer.Inner")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    # The serializer wants the very class that it was made with.
    return functools.cache(lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)))


def serializer(job, part, registry):
    conf = {
        "auto.register.schemas": True,
        "subject.name.strategy": topic_subject_name_strategy,
        "schema.id.serializer": header_schema_id_serializer if job["framing"] == "header" else prefix_schema_id_serializer,
    }
    if job["format"] == "avro":
        return AvroSerializer(registry, job[part], conf=conf)
    if job["format"] == "json":
        return JSONSerializer(job[part], registry, conf=conf)
    return ProtobufSerializer(messages()(job[part]), registry, {**conf, "use.deprecated.format": False})


def deserializer(job, part, registry):
    conf = {"subject.name.strategy": topic_subject_name_strategy}
    if job["format"] == "avro":
        return AvroDeserializer(registry, conf=conf)
    if job["format"] == "json":
        return JSONDeserializer(None, schema_registry_client=registry, conf=conf)
    return ProtobufDeserializer(messages()(job[part]), {**conf, "use.deprecated.format": False}, registry)


def convert(job, part, value):
    value = thaw(value)
    if job["format"] == "protobuf" and value is not None:
        return json_format.ParseDict(value, messages()(job[part])())
    return value


def write(job, registry):
    producer = Producer({"bootstrap.servers": job["bootstrap"]})
    key, value = (serializer(job, part, registry) for part in ("key", "value"))
    for record in job["records"]:
        headers = []
        parts = {}
        for part, field, serde, plain in (("key", MessageField.KEY, key, record[0]),
                                          ("value", MessageField.VALUE, value, record[1])):
            context = SerializationContext(job["topic"], field, headers)
            plain = convert(job, part, plain)
            parts[part] = None if plain is None else serde(plain, context)
        producer.produce(job["topic"], partition=0, headers=headers, **parts)
    left = producer.flush(30)
    assert left == 0, f"{left} records were not delivered"
    return len(job["records"])


def read(job, registry):
    consumer = Consumer({"bootstrap.servers": job["bootstrap"], "group.id": "peer", "enable.auto.commit": False})
    consumer.assign([TopicPartition(job["topic"], 0, 0)])
    key, value = (deserializer(job, part, registry) for part in ("key", "value"))
    records = []
    until = datetime.datetime.now() + datetime.timedelta(seconds=30)
    while len(records) < job["count"]:
        assert datetime.datetime.now() < until, f"only {len(records)} records were there"
        message = consumer.poll(1)
        if message is None:
            continue
        assert message.error() is None, message.error()
        record = []
        for field, serde, payload in ((MessageField.KEY, key, message.key()), (MessageField.VALUE, value, message.value())):
            context = SerializationContext(job["topic"], field, message.headers() or [])
            plain = None if payload is None else serde(payload, context)
            if job["format"] == "protobuf" and plain is not None:
                plain = json_format.MessageToDict(plain, preserving_proto_field_name=True)
            record.append(freeze(plain))
        records.append(record)
    consumer.close()
    return records


job = json.load(sys.stdin)
registry = SchemaRegistryClient({"url": job["registry"]})
print(json.dumps({"write": write, "read": read}[job["do"]](job, registry)))
