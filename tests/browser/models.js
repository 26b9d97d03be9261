// models: the networks that the tests upload, made here so that nothing needs a download.

/** A graph of convolutions in a chain; convs: attributes of each that differ from 3×3, stride 1. */
export function chain(name, convs, { channels = 16, size = 64 } = {}) {
    return {
        format: 'bpuhub.graph/1',
        name,
        inputs: [{ name: 'x', shape: [1, channels, size, size], dtype: 'qint8', scale: 0.0078125 }],
        nodes: convs.map((attrs, i) => ({
            name: `conv${i}`,
            op: 'torch.nn.Conv2d',
            inputs: [i === 0 ? 'x' : `t${i - 1}`],
            outputs: [`t${i}`],
            attrs: {
                in_channels: channels,
                out_channels: channels,
                kernel_size: [3, 3],
                stride: [1, 1],
                padding: [1, 1],
                dilation: [1, 1],
                groups: 1,
                bias: true,
                ...attrs,
            },
            output_dtypes: ['qint8'],
            output_scales: [0.05],
        })),
        outputs: [`t${convs.length - 1}`],
    };
}

const BIG = { kernel_size: [33, 33], padding: [16, 16] };
const TALL = { kernel_size: [35, 3], padding: [17, 1] };

const file = (name, content) => ({
    name,
    mimeType: 'application/octet-stream',
    buffer: Buffer.from(content),
});
const graph_file = (graph) => file(`${graph.name}.json`, JSON.stringify(graph));

export const legal = (name = 'two_convs') => graph_file(chain(name, [{}, {}]));
/** conv1 has a kernel that is too large in both directions, conv3 in one. */
export const illegal = (name = 'large_kernels') => graph_file(chain(name, [{}, BIG, {}, TALL, {}]));
/** Two findings or more for each of n nodes. */
export const many = (n) =>
    graph_file(
        chain(
            'many_findings',
            Array.from({ length: n }, () => BIG),
        ),
    );
export const broken = () =>
    file('broken.json', '{"format": "bpuhub.graph/1",\n "name": "broken",\n "nodes": [{"name": ]}');
export const not_a_model = () => file('notes.txt', 'Buy milk.\n');

// ── the little of protobuf that a one-node ONNX file needs ──
function varint(n) {
    const out = [];
    for (; n > 127; n = Math.floor(n / 128)) out.push((n % 128) | 128);
    return Buffer.from([...out, n]);
}
const number = (field, n) => Buffer.concat([varint(field * 8), varint(n)]);
function message(field, ...parts) {
    const body = Buffer.concat(parts.map((p) => (typeof p === 'string' ? Buffer.from(p) : p)));
    return Buffer.concat([varint(field * 8 + 2), varint(body.length), body]);
}
const value_info = (field, name, dims) =>
    message(
        field,
        message(1, name),
        message(
            2,
            message(
                1,
                number(1, 1),
                message(
                    2,
                    ...dims.map((d) =>
                        message(1, typeof d === 'number' ? number(1, d) : message(2, d)),
                    ),
                ),
            ),
        ),
    );

/** An ONNX file with one Relu whose batch, height and width are open. */
export const open_shape = () =>
    file(
        'open_shape.onnx',
        Buffer.concat([
            number(1, 8),
            message(
                7,
                message(
                    1,
                    message(1, 'image'),
                    message(2, 'out'),
                    message(3, 'relu0'),
                    message(4, 'Relu'),
                ),
                message(2, 'open_shape'),
                value_info(11, 'image', ['N', 3, 'H', 'W']),
                value_info(12, 'out', ['N', 3, 'H', 'W']),
            ),
            message(8, message(1, ''), number(2, 13)),
        ]),
    );
