# Wrote confluent_kafka_python.json, with confluent-kafka 2.16.0: pip install "confluent-kafka[avro,json,protobuf,schemaregistry]"
import json, decimal, uuid, datetime
from confluent_kafka.schema_registry import SchemaRegistryClient, Schema
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import SerializationContext, MessageField
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
out=[]
def reg():
    return SchemaRegistryClient.new_client({'url':'mock://'})
def emit(name, fmt, schema, payload, client):
    out.append({'name':name,'format':fmt,'schema':schema,'payload':payload.hex()})
def avro(name, schema, value):
    c=reg(); s=AvroSerializer(c, json.dumps(schema) if not isinstance(schema,str) else schema)
    p=s(value, SerializationContext('t', MessageField.VALUE)); emit(name,'AVRO',c.get_schema(int.from_bytes(p[1:5],'big')).schema_str,p[5:],c)
R=lambda *f: {'type':'record','name':'R','namespace':'n','fields':list(f)}
avro('record', R({'name':'a','type':'long'},{'name':'s','type':'string'},{'name':'o','type':['null','int']},{'name':'l','type':{'type':'array','items':'int'}},{'name':'m','type':{'type':'map','values':'double'}},{'name':'e','type':{'type':'enum','name':'E','symbols':['A','B']}},{'name':'f','type':{'type':'fixed','name':'F','size':3}},{'name':'b','type':'bytes'},{'name':'t','type':'boolean'},{'name':'x','type':'float'}),
 {'a':-2**40,'s':'h\u00e9','o':7,'l':[1,-2,300],'m':{'k':1.5},'e':'B','f':b'\x01\x02\x03','b':b'\xff','t':True,'x':0.25})
avro('decimal', R({'name':'d','type':{'type':'bytes','logicalType':'decimal','precision':9,'scale':2}}), {'d':decimal.Decimal('-1.28')})
avro('uuid', R({'name':'u','type':{'type':'string','logicalType':'uuid'}}), {'u':uuid.UUID('67e55044-10b1-426f-9247-bb680e5fe0c8')})
avro('timestamp', R({'name':'t','type':{'type':'long','logicalType':'timestamp-millis'}}), {'t':datetime.datetime(2026,1,2,3,4,5,tzinfo=datetime.timezone.utc)})
avro('string', '"string"', 'text')
avro('bytes', '"bytes"', b'raw bytes')
avro('long', '"long"', -5)
avro('union', [R({'name':'a','type':'int'}), {'type':'record','name':'S','namespace':'n','fields':[{'name':'b','type':'string'}]}], ('n.S',{'b':'x'}))
c=reg(); s=JSONSerializer('{"title":"O","type":"object","properties":{"id":{"type":"integer"}}}', c); p=s({'id':1}, SerializationContext('t',MessageField.VALUE)); emit('json','JSON',c.get_schema(int.from_bytes(p[1:5],'big')).schema_str,p[5:],c)
# protobuf
f=descriptor_pb2.FileDescriptorProto(name='o.proto',package='shop',syntax='proto3')
m=f.message_type.add(name='First'); m.field.add(name='x',number=1,type=5,label=1)
o=f.message_type.add(name='Outer')
e=o.nested_type.add(name='CountsEntry'); e.options.map_entry=True
e.field.add(name='key',number=1,type=9,label=1); e.field.add(name='value',number=2,type=5,label=1)
for n in ('Inner','Second'):
    i=o.nested_type.add(name=n); i.field.add(name='text',number=1,type=9,label=1)
o.field.add(name='counts',number=1,type=11,label=3,type_name='.shop.Outer.CountsEntry')
o.field.add(name='inner',number=2,type=11,label=1,type_name='.shop.Outer.Inner')
pool=descriptor_pool.DescriptorPool(); pool.Add(f)
cls=lambda n: message_factory.GetMessageClass(pool.FindMessageTypeByName(n))
def proto(name, msg):
    c=reg(); s=ProtobufSerializer(type(msg), c, {'use.deprecated.format':False}); p=s(msg, SerializationContext('t',MessageField.VALUE)); emit(name,'PROTOBUF',c.get_schema(int.from_bytes(p[1:5],'big')).schema_str,p[5:],c)
proto('shop.First', cls('shop.First')(x=150))
w=cls('shop.Outer')(); w.counts['a']=1; w.inner.text='x'; proto('shop.Outer', w)
proto('shop.Outer.Inner', cls('shop.Outer.Inner')(text='x'))
proto('shop.Outer.Second', cls('shop.Outer.Second')(text='y'))
json.dump(out, open('confluent_kafka_python.json', 'w'), indent=1)
