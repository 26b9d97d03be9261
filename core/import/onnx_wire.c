/* The walk is driven by protobuf-c's own message descriptors, so it knows exactly the schema that the parse after it
 * knows.  Lengths of nested messages are written as five-byte varints, since they are known only after the content. */
#include "core/import/onnx_wire.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/base/utf8.h"
#include "onnx.pb-c.h"

struct walk {
    const unsigned char *data;
    struct buf *out;
    struct bpu_error *err;
};

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LEN = 2, WIRE_32 = 5 };

static bool damaged(struct walk *w, size_t at, const char *fmt, ...) BPU_PRINTF(3, 4);
static bool damaged(struct walk *w, size_t at, const char *fmt, ...)
{
    char where[64];
    va_list ap;
    snprintf(where, sizeof where, "byte %zu", at);
    va_start(ap, fmt);
    error_vset(w->err, BPU_BAD_MODEL, where, fmt, ap);
    va_end(ap);
    return error_hint(w->err, "The file is cut short or damaged; export or copy it again.");
}

/* Reads a varint of at most 10 bytes at *pos < end. */
static bool read_varint(struct walk *w, size_t *pos, size_t end, uint64_t *out)
{
    uint64_t v = 0;
    size_t at = *pos;
    for (int shift = 0; shift < 70; shift += 7) {
        if (*pos >= end)
            return damaged(w, at, "a number is cut off at the end of its message");
        unsigned char c = w->data[(*pos)++];
        if (shift < 64)
            v |= (uint64_t)(c & 0x7F) << shift;
        if (!(c & 0x80)) {
            *out = v;
            return true;
        }
    }
    return damaged(w, at, "a number is longer than 10 bytes");
}

static void put_varint(struct buf *b, uint64_t v)
{
    while (v >= 0x80) {
        buf_putc(b, (char)(v | 0x80));
        v >>= 7;
    }
    buf_putc(b, (char)v);
}

/* Structural check of UTF-8 with neither NUL (names are C strings) nor overlong forms nor surrogates. */
static bool text_ok(const unsigned char *s, size_t n)
{
    uint32_t number;
    for (size_t i = 0, length; i < n; i += length)
        if (s[i] == 0 || (length = utf8_character_of((const char *)s + i, n - i, &number)) == 0)
            return false;
    return true;
}

static enum wire wire_of(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32: return WIRE_32;
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64: return WIRE_64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE: return WIRE_LEN;
    default: return WIRE_VARINT;
    }
}

static bool walk_message(struct walk *w, const ProtobufCMessageDescriptor *d, size_t pos,
                         size_t end, int depth);

/* The content of a length-delimited field that stands at [pos, pos + n). */
static bool walk_content(struct walk *w, const ProtobufCMessageDescriptor *d,
                         const ProtobufCFieldDescriptor *f, size_t pos, size_t n, int depth)
{
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        if (d == &onnx__tensor_proto__descriptor && strcmp(f->name, "segment") == 0) {
            error_set(w->err, BPU_UNSUPPORTED, NULL, "a tensor is stored in segments");
            error_where(w->err, "byte %zu", pos);
            return error_hint(w->err, "Save the model with whole tensors.");
        }
        if (depth >= ONNX_MAX_DEPTH) {
            error_set(w->err, BPU_BAD_MODEL, NULL,
                      "messages are nested more than %d levels deep (%s in %s)", ONNX_MAX_DEPTH,
                      f->name, d->short_name);
            error_where(w->err, "byte %zu", pos);
            return error_hint(w->err, "No exporter nests this deeply; the file is damaged or "
                                      "hostile.");
        }
        put_varint(w->out, (uint64_t)f->id << 3 | WIRE_LEN);
        size_t length_at = w->out->size;
        buf_add(w->out, "\x80\x80\x80\x80\x00", 5);
        if (!walk_message(w, f->descriptor, pos, pos + n, depth + 1))
            return false;
        if (w->out->failed)
            return true; /* reported once by the caller */
        size_t length = w->out->size - length_at - 5;
        for (int i = 0; i < 5; i++)
            w->out->data[length_at + (size_t)i] =
                (char)((length >> (7 * i) & 0x7F) | (i < 4 ? 0x80 : 0));
        return true;
    }
    if (d == &onnx__tensor_proto__descriptor && strcmp(f->name, "raw_data") == 0) {
        struct buf segment;
        buf_init(&segment, 64);
        put_varint(&segment, 1 << 3);
        put_varint(&segment, pos);
        put_varint(&segment, 2 << 3);
        put_varint(&segment, pos + n);
        put_varint(w->out, 3 << 3 | WIRE_LEN);
        put_varint(w->out, segment.size);
        buf_add(w->out, segment.data, segment.size);
        w->out->failed = w->out->failed || segment.failed;
        buf_fini(&segment);
        return true;
    }
    if (f->type == PROTOBUF_C_TYPE_STRING && !text_ok(w->data + pos, n))
        return damaged(w, pos, "the text \"%s\" of %s is not UTF-8", f->name, d->short_name);
    put_varint(w->out, (uint64_t)f->id << 3 | WIRE_LEN);
    put_varint(w->out, n);
    buf_add(w->out, w->data + pos, n);
    return true;
}

static bool walk_message(struct walk *w, const ProtobufCMessageDescriptor *d, size_t pos,
                         size_t end, int depth)
{
    while (pos < end) {
        size_t at = pos;
        uint64_t tag;
        if (!read_varint(w, &pos, end, &tag))
            return false;
        uint64_t number = tag >> 3;
        unsigned wire = tag & 7;
        if (number == 0 || number > UINT32_MAX >> 3)
            return damaged(w, at, "field number %llu in %s is impossible",
                           (unsigned long long)number, d->short_name);
        const ProtobufCFieldDescriptor *f =
            protobuf_c_message_descriptor_get_field(d, (unsigned)number);
        size_t from = pos, n;
        uint64_t value = 0;
        switch (wire) {
        case WIRE_VARINT:
            if (!read_varint(w, &pos, end, &value))
                return false;
            break;
        case WIRE_64:
        case WIRE_32:
            n = wire == WIRE_64 ? 8 : 4;
            if (end - pos < n)
                return damaged(w, at, "field %llu of %s is cut off", (unsigned long long)number,
                               d->short_name);
            pos += n;
            break;
        case WIRE_LEN:
            if (!read_varint(w, &pos, end, &value))
                return false;
            if (value > end - pos)
                return damaged(w, at,
                               "%s of %s says that it is %llu bytes long, but only %zu are left",
                               f ? f->name : "a field", d->short_name, (unsigned long long)value,
                               end - pos);
            from = pos;
            pos += (size_t)value;
            break;
        default:
            return damaged(w, at, "wire type %u in %s is impossible", wire, d->short_name);
        }
        if (!f)
            continue; /* a newer schema's field */
        bool packed = wire == WIRE_LEN && f->label == PROTOBUF_C_LABEL_REPEATED &&
                      wire_of(f) != WIRE_LEN;
        if (wire != (unsigned)wire_of(f) && !packed)
            return damaged(w, at, "%s of %s has the wrong wire type %u", f->name, d->short_name,
                           wire);
        if (wire == WIRE_LEN) {
            if (!walk_content(w, d, f, from, (size_t)value, depth))
                return false;
        } else
            buf_add(w->out, w->data + at, pos - at);
    }
    return true;
}

bool onnx_wire_skeleton(const unsigned char *data, size_t size, struct buf *out,
                        struct bpu_error *err)
{
    struct walk w = {data, out, err};
    return walk_message(&w, &onnx__model_proto__descriptor, 0, size, 0) && buf_ok(out, err);
}

bool onnx_wire_looks_like_model(const unsigned char *head, size_t n)
{
    /* The first field must be one of ModelProto's, of its own wire type; a length must not be absurd for a text. */
    struct bpu_error ignored = {0};
    struct walk w = {head, NULL, &ignored};
    size_t pos = 0;
    uint64_t tag = 0, value = 0;
    for (int fields = 0; fields < 3; fields++) {
        if (pos >= n)
            return fields > 0;
        if (!read_varint(&w, &pos, n, &tag) || tag >> 3 > UINT32_MAX >> 3)
            return false;
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(
            &onnx__model_proto__descriptor, (unsigned)(tag >> 3));
        if (!f || (tag & 7) != (uint64_t)wire_of(f))
            return false;
        if (!read_varint(&w, &pos, n, &value))
            return false;
        if (f->type == PROTOBUF_C_TYPE_MESSAGE)
            return true; /* the graph may be longer than the head */
        if ((tag & 7) == WIRE_LEN) {
            if (value > n - pos)
                return value < 1 << 20 && text_ok(head + pos, n - pos);
            if (!text_ok(head + pos, (size_t)value))
                return false;
            pos += (size_t)value;
        }
    }
    return true;
}
