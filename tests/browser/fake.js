// fake: a stand-in for the daemon, for work on the dashboard without a build of the C side. It speaks
// the part of the HTTP contract that the dashboard uses and knows one rule: how large a kernel may be.

import { createHash } from 'node:crypto';
import { readFileSync, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname } from 'node:path';

const STATIC = new URL('../../static/', import.meta.url);
const TYPES = {
    '.html': 'text/html; charset=utf-8',
    '.js': 'text/javascript; charset=utf-8',
    '.css': 'text/css; charset=utf-8',
    '.svg': 'image/svg+xml',
};
const ENDED = ['succeeded', 'failed', 'cancelled'];
const sha = (b) => createHash('sha256').update(b).digest('hex');
const pause = (ms) => new Promise((r) => setTimeout(r, ms));

function fault(status, code, title, detail, where, hint) {
    return { type: 'about:blank', title, status, detail, code, where, hint };
}

function read_model(bytes, options) {
    const text = bytes.toString('latin1');
    if (text.trimStart().startsWith('{')) {
        try {
            return JSON.parse(text);
        } catch (e) {
            throw fault(
                422,
                'bad_model',
                'The model is damaged or malformed',
                e.message,
                'line 3, column 21',
                'Check that the file is complete JSON.',
            );
        }
    }
    if (bytes[0] !== 8)
        throw fault(
            422,
            'unrecognised_format',
            'The file is not a model that BPU Hub knows',
            'The first bytes belong to no known format.',
            'byte 0',
            'Upload ONNX, TorchScript, torch.export or BPU Hub graph JSON.',
        );
    const given = options['input.image'] ?? options['input.0'];
    if (!given)
        throw fault(
            422,
            'shape_needed',
            'An input shape is open',
            'The input "image" has open dimensions: [N, 3, H, W].',
            'input "image"',
            'Give its shape, for example: input.image=1x3x224x224',
        );
    const shape = given.split(':')[0].split('x').map(Number);
    return {
        format: 'onnx',
        inputs: [{ name: 'image', shape }],
        nodes: [{ name: 'relu0', op: 'torch.nn.ReLU', source_op: 'onnx:Relu', attrs: {} }],
    };
}

function check(model, job, graph) {
    const findings = [];
    const shape = graph.inputs[0].shape;
    const value = { shape, dtype: 'qint8', scale: 0.05 };
    const nodes = graph.nodes.map((n) => {
        ['kernel_h', 'kernel_w'].forEach((what, axis) => {
            const actual = n.attrs?.kernel_size?.[axis] ?? 1;
            if (actual > 31)
                findings.push({
                    rule: `conv2d.${what}`,
                    severity: 'error',
                    node: n.name,
                    op: n.op,
                    source_op: n.op,
                    message: `The kernel's ${axis ? 'width' : 'height'} is ${actual}; 1..31 is possible.`,
                    actual,
                    limit: '1..31',
                    hint: 'Use several smaller kernels in a row.',
                    rewrite: {
                        input: shape,
                        side_by_side: 1,
                        steps: [17, 17].map((k) => ({
                            op: 'torch.nn.Conv2d',
                            kernel_size: [k, k],
                            stride: [1, 1],
                            padding: [8, 8],
                            dilation: [1, 1],
                            in: 8,
                            out: 8,
                            groups: 1,
                        })),
                    },
                    eager_replacement: null,
                    cause: 'direct',
                    table: 'torch',
                });
        });
        const illegal = findings.some((f) => f.node === n.name);
        return {
            name: n.name,
            op: n.op,
            source_op: n.source_op ?? n.op,
            verdict: illegal ? 'illegal' : 'legal',
            inputs: [value],
            outputs: [value],
        };
    });
    const illegal = nodes.filter((n) => n.verdict === 'illegal').length;
    return {
        schema: 'bpuhub.check/1',
        tool: { name: 'bpuhub', version: 'fake' },
        model: { id: model.id, name: model.name, format: model.format },
        march: job.march,
        verdict: illegal ? 'illegal' : 'legal',
        summary: {
            nodes: nodes.length,
            legal: nodes.length - illegal,
            illegal,
            folded: 0,
            errors: findings.length,
            warnings: 0,
            advice: 0,
        },
        findings,
        nodes,
    };
}

function draw(report) {
    const h = 90,
        w = 320;
    return `<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="${w}pt" height="${report.nodes.length * h}pt" viewBox="0 0 ${w} ${report.nodes.length * h}"><g class="graph">${report.nodes
        .map(
            (n, i) => `
<g id="node-${i}" class="node" data-node="${n.name}"><title>${n.name}</title>
<rect class="b" x="40" y="${i * h + 10}" width="240" height="50" rx="6" fill="${n.verdict === 'illegal' ? '#ffd6d6' : '#e8f1fb'}" stroke="#456"/>
<text x="160" y="${i * h + 32}" text-anchor="middle" font-family="sans-serif" font-size="14">${n.op}</text>
<text x="160" y="${i * h + 50}" text-anchor="middle" font-family="sans-serif" font-size="11">${n.name}</text></g>
<g class="edge"><path d="M160 ${i * h + 60}v30" stroke="#456" fill="none"/></g>`,
        )
        .join('')}</g></svg>`;
}

export async function fake_start({ step = 30 } = {}) {
    const models = new Map(),
        jobs = [],
        keys = new Map();
    const job_find = (id) => jobs.find((j) => j.id === id);
    const shown = ({ files, watchers, ...job }) => ({
        ...job,
        artifacts: Object.entries(files).map(([name, body]) => ({
            name,
            type: name.endsWith('.svg') ? 'image/svg+xml' : 'application/json',
            bytes: body.length,
            sha256: sha(body),
            href: `/v1/jobs/${job.id}/artifacts/${name}`,
        })),
    });
    const change = (job, changes) => {
        Object.assign(job, changes);
        for (const w of [...job.watchers]) w();
    };

    async function work(job) {
        change(job, {
            state: 'running',
            stage: 'import',
            progress: 0,
            attempts: job.attempts + 1,
            started: new Date().toISOString(),
        });
        const model = models.get(job.model);
        await pause(step);
        try {
            const graph = read_model(model.content, job.options);
            change(job, { stage: 'check', progress: 0.5 });
            await pause(step);
            const report = check(model, job, graph);
            if (job.kind === 'visualize') job.files = { 'graph.svg': draw(report) };
            else job.files = { 'report.json': JSON.stringify(report), 'graph.svg': draw(report) };
            if (job.state === 'running')
                change(job, {
                    state: 'succeeded',
                    stage: null,
                    progress: 1,
                    verdict: job.kind === 'check' ? report.verdict : null,
                    finished: new Date().toISOString(),
                });
        } catch (e) {
            if (!e.code) throw e;
            change(job, {
                state: 'failed',
                stage: null,
                error: e,
                finished: new Date().toISOString(),
            });
        }
    }

    function job_add(body) {
        const job = {
            id: `01FAKE${String(jobs.length).padStart(20, '0')}`,
            model: body.model,
            model_name: models.get(body.model).name,
            kind: body.kind,
            march: body.march,
            state: 'queued',
            stage: null,
            progress: 0,
            verdict: null,
            error: null,
            project: body.project ?? '',
            labels: body.labels ?? {},
            options: body.options ?? {},
            attempts: 0,
            created: new Date().toISOString(),
            started: null,
            finished: null,
            files: {},
            watchers: new Set(),
        };
        jobs.unshift(job);
        setTimeout(work, step, job);
        return job;
    }

    const wait_end = (job, seconds) =>
        new Promise((resolve) => {
            const done = () => {
                if (ENDED.includes(job.state)) end();
            };
            const end = () => {
                clearTimeout(timer);
                job.watchers.delete(done);
                resolve();
            };
            const timer = setTimeout(end, seconds * 1000);
            job.watchers.add(done);
            done();
        });

    async function answer(req, res, body) {
        const url = new URL(req.url, 'http://localhost');
        const [, v1, what, id, rest, name] = url.pathname.split('/').map(decodeURIComponent);
        const json = (status, doc, headers = {}) =>
            res
                .writeHead(status, {
                    'Content-Type': status >= 400 ? 'application/problem+json' : 'application/json',
                    ...headers,
                })
                .end(JSON.stringify(doc));
        const none = () =>
            json(
                404,
                fault(404, 'not_found', 'There is no such thing', `Nothing is at ${url.pathname}.`),
            );

        if (v1 !== 'v1') {
            const path =
                url.pathname === '/' ? 'index.html' : url.pathname.replace(/^\/static\//, '');
            const full = new URL(path, STATIC);
            if (!/^[\w.-]+$/.test(path) || !existsSync(full)) return none();
            return res
                .writeHead(200, {
                    'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream',
                    'Content-Security-Policy': "default-src 'self'",
                })
                .end(readFileSync(full));
        }
        if (what === 'session')
            return json(200, { access: 'open', signed_in: false, anonymous_read: false, csrf: null });
        if (what === 'marches')
            return json(200, {
                items: [
                    { name: 'bayes', title: 'Bayes', boards: ['RDK Ultra', 'J5'] },
                    { name: 'bernoulli2', title: 'Bernoulli2', boards: ['RDK X3', 'J3'] },
                ],
            });
        if (what === 'models') {
            if (req.method === 'GET')
                return models.has(id)
                    ? json(200, { ...models.get(id), content: undefined })
                    : none();
            const known = models.has(sha(body));
            const m = models.get(sha(body)) ?? {
                id: sha(body),
                name: url.searchParams.get('filename') ?? 'model',
                format: body[0] === 123 ? 'graph-json' : 'onnx',
                bytes: body.length,
                created: new Date().toISOString(),
                content: body,
            };
            models.set(m.id, m);
            return json(known ? 200 : 201, { ...m, content: undefined });
        }
        if (what !== 'jobs') return none();
        if (!id && req.method === 'POST') {
            const key = req.headers['idempotency-key'];
            const job = keys.get(key) ?? job_add(JSON.parse(body));
            if (key) keys.set(key, job);
            return json(202, shown(job), { Location: `/v1/jobs/${job.id}` });
        }
        if (!id) {
            const q = url.searchParams,
                limit = Number(q.get('limit') ?? 50);
            const fits = jobs.filter(
                (j) =>
                    ['state', 'kind', 'march', 'verdict', 'project'].every(
                        (k) => !q.get(k) || j[k] === q.get(k),
                    ) &&
                    (!q.get('q') || j.model_name.includes(q.get('q'))),
            );
            const from = q.get('cursor') ? fits.findIndex((j) => j.id === q.get('cursor')) + 1 : 0;
            const items = fits.slice(from, from + limit);
            return json(200, {
                items: items.map(shown),
                next: from + limit < fits.length ? items.at(-1).id : null,
            });
        }
        const job = job_find(id);
        if (!job) return none();
        if (req.method === 'DELETE') {
            jobs.splice(jobs.indexOf(job), 1);
            return res.writeHead(204).end();
        }
        if (rest === 'cancel') {
            change(job, { state: 'cancelled' });
            return json(200, shown(job));
        }
        if (rest === 'retry') {
            change(job, { state: 'queued', error: null });
            setTimeout(work, step, job);
            return json(202, shown(job));
        }
        if (rest === 'events') {
            res.writeHead(200, { 'Content-Type': 'text/event-stream' });
            const send = () => {
                res.write(
                    `event: state\ndata: ${JSON.stringify({ state: job.state, stage: job.stage, progress: job.progress })}\n\n`,
                );
                if (ENDED.includes(job.state)) {
                    job.watchers.delete(send);
                    res.end();
                }
            };
            job.watchers.add(send);
            res.on('close', () => job.watchers.delete(send));
            return send();
        }
        if (!rest) {
            const wait = Number(/wait=(\d+)/.exec(req.headers.prefer ?? '')?.[1] ?? 0);
            if (wait) await wait_end(job, wait);
            return json(200, shown(job));
        }
        const file = job.files[name ?? { report: 'report.json' }[rest] ?? rest];
        if (file === undefined) return none();
        return res
            .writeHead(200, {
                'Content-Type': (name ?? rest).endsWith('.svg')
                    ? 'image/svg+xml'
                    : 'application/json',
            })
            .end(file);
    }

    const server = createServer((req, res) => {
        const parts = [];
        req.on('data', (p) => parts.push(p));
        req.on('end', () =>
            answer(req, res, Buffer.concat(parts)).catch((e) => {
                console.error(e);
                res.destroy();
            }),
        );
    });
    await new Promise((r) => server.listen(Number(process.env.FAKE_PORT ?? 0), '127.0.0.1', r));
    return {
        url: `http://127.0.0.1:${server.address().port}`,
        stop: () => {
            server.closeAllConnections();
            server.close();
        },
    };
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
    console.log(`listening on ${(await fake_start({ step: 300 })).url}`);
}
