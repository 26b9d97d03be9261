// api: the HTTP API as the dashboard uses it. Every failure, also that of the network, becomes a
// Problem, so that views have one way to show what went wrong.

export const ENDED = new Set(['succeeded', 'failed', 'cancelled']);

export class Problem extends Error {
    constructor(doc, status = 0) {
        super(doc.detail || doc.title || 'Something went wrong');
        this.doc = doc;
        this.status = status;
        this.code = doc.code ?? '';
    }
}

function network_problem() {
    return new Problem({
        title: 'The server does not answer',
        detail: 'The request got no answer.',
        code: 'network',
        hint: 'Check that the server runs and that this machine can reach it, then try again.',
    });
}

function problem_from(text, status) {
    try {
        const doc = JSON.parse(text);
        if (doc && typeof doc === 'object' && (doc.title || doc.detail || doc.code))
            return new Problem(doc, status);
    } catch {
        /* not JSON: described below */
    }
    return new Problem(
        { title: `The server answered ${status}`, detail: text.slice(0, 300), status },
        status,
    );
}

/** What the session's page must send with whatever changes something. */
let csrf = '';

const change_headers = () => (csrf ? { 'X-CSRF-Token': csrf } : {});

/** The session is over, or there never was one: the router (app.js) asks for a token. */
function unauthorized(status, path) {
    if (status === 401 && path !== SESSION) dispatchEvent(new CustomEvent('unauthorized'));
}

async function request(path, { method = 'GET', json, headers = {}, signal } = {}) {
    let response;
    if (method !== 'GET') headers = { ...headers, ...change_headers() };
    try {
        response = await fetch(path, {
            method,
            signal,
            headers:
                json === undefined ? headers : { 'Content-Type': 'application/json', ...headers },
            body: json === undefined ? undefined : JSON.stringify(json),
        });
    } catch (e) {
        if (e.name === 'AbortError') throw e;
        throw network_problem();
    }
    if (!response.ok) {
        unauthorized(response.status, path);
        throw problem_from(await response.text(), response.status);
    }
    return response;
}

const SESSION = '/v1/session';
const session_keep = (doc) => {
    csrf = doc.csrf ?? '';
    return doc;
};
export const session = async () => session_keep(await get_json(SESSION));
export const sign_in = async (token, signal) =>
    session_keep(await get_json(SESSION, { method: 'POST', json: { token }, signal }));
export const sign_out = async () => {
    await request(SESSION, { method: 'DELETE' });
    csrf = '';
};

const get_json = async (path, options) => (await request(path, options)).json();
const job_path = (id, rest = '') => `/v1/jobs/${encodeURIComponent(id)}${rest}`;

export async function marches(signal) {
    const doc = await get_json('/v1/marches', { signal });
    const items = Array.isArray(doc) ? doc : (doc.items ?? []);
    return items.map((m) => (typeof m === 'string' ? { name: m } : m));
}

export const model = (id, signal) => get_json(`/v1/models/${encodeURIComponent(id)}`, { signal });
/** query: base=JOB&head=JOB */
export const compare = (query, signal) =>
    get_json(`/v1/compare?${query}`, { signal, headers: { Accept: 'application/json' } });
export const report = (id, signal) => get_json(job_path(id, '/report'), { signal });
/** Made by the server when first asked for. */
export const drawing = async (id, signal) =>
    (await request(job_path(id, '/graph.svg'), { signal })).text();
export const artifact_text = async (id, name, signal) =>
    (await request(job_path(id, `/artifacts/${encodeURIComponent(name)}`), { signal })).text();
export const job_cancel = (id) => request(job_path(id, '/cancel'), { method: 'POST' });
export const job_retry = (id) => request(job_path(id, '/retry'), { method: 'POST' });
export const job_delete = (id) => request(job_path(id), { method: 'DELETE' });

export function job(id, { wait = 0, signal } = {}) {
    return get_json(job_path(id), { signal, headers: wait ? { Prefer: `wait=${wait}` } : {} });
}

export function job_list(params, signal) {
    const query = new URLSearchParams();
    for (const [k, v] of Object.entries(params)) if (v) query.set(k, v);
    return get_json(`/v1/jobs?${query}`, { signal });
}

export const job_create = (body, signal) =>
    get_json('/v1/jobs', { method: 'POST', json: body, signal });

export const model_upload = (file, options) => upload('/v1/models', file, options);
/** Calibration data, a test set, labels. */
export const data_upload = (file, options) => upload('/v1/data', file, options);

/** Sends the file as it is; XMLHttpRequest because fetch tells nothing about an upload's progress. */
function upload(path, file, { onprogress, signal, project } = {}) {
    return new Promise((resolve, reject) => {
        const xhr = new XMLHttpRequest();
        const query = new URLSearchParams({ filename: file.name });
        if (project) query.set('project', project);
        xhr.open('POST', `${path}?${query}`);
        xhr.setRequestHeader('Content-Type', 'application/octet-stream');
        for (const [name, value] of Object.entries(change_headers()))
            xhr.setRequestHeader(name, value);
        xhr.upload.addEventListener('progress', (e) => {
            if (e.lengthComputable) onprogress?.(e.loaded, e.total);
        });
        xhr.addEventListener('load', () => {
            unauthorized(xhr.status, path);
            if (xhr.status < 200 || xhr.status > 299)
                return reject(problem_from(xhr.responseText, xhr.status));
            try {
                resolve(JSON.parse(xhr.responseText));
            } catch {
                reject(problem_from(xhr.responseText, xhr.status));
            }
        });
        xhr.addEventListener('error', () => reject(network_problem()));
        xhr.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')));
        signal?.addEventListener('abort', () => xhr.abort());
        xhr.send(file);
    });
}

/** Reads server-sent events. Not EventSource: that one reconnects for ever and hides the status. */
async function each_event(path, signal, onevent) {
    const response = await request(path, { signal, headers: { Accept: 'text/event-stream' } });
    if (!(response.headers.get('Content-Type') ?? '').startsWith('text/event-stream')) {
        throw problem_from('', response.status);
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let pending = '';
    for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        pending += value.replaceAll('\r\n', '\n');
        for (let end; (end = pending.indexOf('\n\n')) >= 0; pending = pending.slice(end + 2)) {
            const event = { name: 'message', data: [] };
            for (const line of pending.slice(0, end).split('\n')) {
                const [, field, text] = /^(\w*):? ?(.*)$/.exec(line) ?? [];
                if (field === 'event') event.name = text;
                if (field === 'data') event.data.push(text);
            }
            if (event.data.length && onevent(event.name, event.data.join('\n')) === false) {
                reader.cancel().catch(() => {});
                return;
            }
        }
    }
}

/** Follows a job to its end and resolves with it; onupdate gets {state, stage, progress}. */
export async function job_watch(id, { onupdate, signal }) {
    try {
        await each_event(job_path(id, '/events'), signal, (name, data) => {
            let update;
            try {
                update = JSON.parse(data);
            } catch {
                return true;
            }
            if (update === null || typeof update !== 'object') update = { [name]: update };
            onupdate(update);
            return !ENDED.has(update.state);
        });
    } catch (e) {
        if (signal?.aborted) throw e;
        // No stream (an old proxy, a lost connection): the long poll below does the same job.
    }
    for (let failures = 0; ;) {
        const asked = Date.now();
        try {
            const current = await job(id, { wait: 20, signal });
            failures = 0;
            if (ENDED.has(current.state)) return current;
            onupdate(current);
        } catch (e) {
            if (signal?.aborted || (e.status >= 400 && e.status < 500) || ++failures > 5) throw e;
        }
        // A server that does not wait must not be asked in a tight loop.
        if (Date.now() - asked < 900)
            await new Promise((r) => setTimeout(r, 1000 * (1 + failures)));
    }
}
