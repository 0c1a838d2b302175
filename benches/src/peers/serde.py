# Encodes or decodes one record again and again with Confluent's serializers for Python, and times that. A job on standard
# input, its result on standard output:
#
#   {"registry": url, "format": "avro" | "json" | "protobuf", "do": "encode" | "decode", "schema": .., "record": {..},
#    "count": n}  ->  {"wall_s": .., "cpu_s": ..}
import json, sys, time

from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory


def message():
    """shop.Order."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="order.proto", package="shop", syntax="proto3")
    order = file.message_type.add(name="Order")
    fields = (("id", kinds.TYPE_INT64), ("customer", kinds.TYPE_STRING), ("item", kinds.TYPE_STRING),
              ("currency", kinds.TYPE_STRING), ("cents", kinds.TYPE_INT64), ("paid", kinds.TYPE_BOOL),
              ("note", kinds.TYPE_STRING), ("tags", kinds.TYPE_STRING))
    for number, (name, kind) in enumerate(fields, 1):
        label = kinds.LABEL_REPEATED if name == "tags" else kinds.LABEL_OPTIONAL
        order.field.add(name=name, number=number, type=kind, label=label)
    note = order.field[6]
    order.oneof_decl.add(name="_note")
    note.proto3_optional, note.oneof_index = True, 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))


job = json.load(sys.stdin)
registry = SchemaRegistryClient({"url": job["registry"]})
context = SerializationContext("orders", MessageField.VALUE, [])
conf = {"subject.name.strategy": topic_subject_name_strategy}
record = job["record"]
if job["format"] == "avro":
    encode = AvroSerializer(registry, job["schema"], conf=conf)
    decode = AvroDeserializer(registry, conf=conf)
elif job["format"] == "json":
    encode = JSONSerializer(job["schema"], registry, conf={**conf, "validate": False})
    decode = JSONDeserializer(None, schema_registry_client=registry, conf={**conf, "validate": False})
else:
    Order = message()
    conf["use.deprecated.format"] = False
    encode = ProtobufSerializer(Order, registry, conf)
    decode = ProtobufDeserializer(Order, conf, registry)
    record = json_format.ParseDict(record, Order())

# The schema is registered and known from here on, both ways.
payload = encode(record, context)
assert decode(payload, context) == record, "what was written is not what was read"

work, subject = (encode, record) if job["do"] == "encode" else (decode, payload)
cpu, wall = time.process_time(), time.perf_counter()
for _ in range(job["count"]):
    work(subject, context)
print(json.dumps({"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}))
