// job: one result: progress while it runs, then its report, or what went wrong and what can be done.

import { h, icon, announce, bytes, number, timeElement, duration } from './dom.js';
import * as api from './api.js';
import { march_title, marches_load } from './march.js';
import { problem_card, problem_of } from './problem.js';
import { model_name } from './results.js';
import { shape_fields, shape_options, inputs_of_problem } from './shapes.js';
import { report_show } from './report.js';
import { compare_menu } from './compare.js';

const STAGES = {
    import: 'Reading the model',
    check: 'Checking the operators',
    fuse: 'Fusing operators',
    calibrate: 'Calibrating',
    'compare observers': 'Comparing the ways to choose scales',
    convert: 'Converting to integers',
    compile: 'Compiling',
    perf: 'Finding where the time goes',
    compare: 'Comparing with float',
    float: 'Running in float',
    fixed: 'Running in fixed point',
    layers: 'Comparing layer by layer',
    suggest: 'Trying what would help',
    report: 'Writing the report',
    draw: 'Drawing',
    store: 'Storing the results',
};
const KINDS = { quantize: 'Quantize', evaluate: 'Evaluate', compile: 'Compile', perf: 'Measure', pipeline: 'Measure' };
const WORK = {
    quantize: 'Quantizing',
    evaluate: 'Evaluating',
    compile: 'Compiling',
    perf: 'Measuring',
    pipeline: 'Measuring',
    visualize: 'Drawing',
};
const FAULTS_OF_INPUT = new Set([
    'unrecognised_format',
    'bad_model',
    'unsupported_model',
    'shape_needed',
    'bad_shape',
    'bad_option',
]);

export function job_view(root, id, params, signal) {
    const title = h('h1', { tabindex: '-1' }, 'Result');
    const facts = h('p', { class: 'facts muted' });
    const actions = h('div', { class: 'actions' });
    const body = h('div', { class: 'job-body' }, h('p', { class: 'muted' }, 'Loading …'));
    root.append(h('div', { class: 'job-head' }, h('div', {}, title, facts), actions), body);
    let job = null;
    let model = null;
    let apply_params = () => {};

    function fail(error) {
        if (signal.aborted) return;
        body.replaceChildren(
            problem_card(problem_of(error), {
                actions: [h('a', { class: 'button', href: '#/' }, 'To the start')],
            }),
        );
    }

    const guarded =
        (f) =>
        async (...args) => {
            try {
                await f(...args);
            } catch (e) {
                fail(e);
            }
        };

    async function start() {
        document.title = 'Result – BPU Hub';
        [job] = await Promise.all([api.job(id, { signal }), marches_load(signal).catch(() => [])]);
        const model_id = job.model?.id ?? job.model;
        model = await api.model(model_id, signal).catch(() => null);
        if (signal.aborted) return;
        head();
        if (!api.ENDED.has(job.state)) {
            const box = progress();
            body.replaceChildren(box.element);
            announce(`${WORK[job.kind] ?? 'Checking'} ${name()}`);
            job = { ...job, ...(await api.job_watch(id, { signal, onupdate: box.update })) };
            model = await api.model(model_id, signal).catch(() => model);
            head();
        }
        await result();
    }

    const name = () =>
        (model_name(job) === String(job.model).slice(0, 12) ? model?.name : model_name(job)) ||
        model?.name ||
        'unnamed';

    function head() {
        title.textContent = name();
        document.title = `${name()} – BPU Hub`;
        const parts = [
            h(
                'span',
                {},
                march_title(job.march) ? `${job.kind} for ${march_title(job.march)}` : job.kind,
            ),
            model?.format && h('span', {}, model.format),
            model?.bytes && h('span', {}, bytes(model.bytes)),
            model?.parameters > 0 && h('span', {}, `${number(model.parameters)} parameters`),
            job.project && h('span', {}, `project ${job.project}`),
            ...Object.entries(job.labels ?? {}).map(([k, v]) =>
                h('span', { class: 'mono' }, `${k}=${v}`),
            ),
            h('span', {}, timeElement(job.created)),
            job.state === 'succeeded' && job.attempts === 0
                ? h('span', {}, 'answered from an earlier result')
                : duration(job.started, job.finished) &&
                  h('span', {}, `took ${duration(job.started, job.finished)}`),
        ];
        facts.replaceChildren(...parts.filter(Boolean));
        const ended = api.ENDED.has(job.state);
        // What is wrong with the file is wrong again, whatever the march.
        const hopeless = job.state === 'failed' && FAULTS_OF_INPUT.has(job.error?.code);
        actions.replaceChildren(
            ...[
                ended && compare_menu(job, signal),
                ended && !hopeless && marches_menu(),
                ended &&
                    job.state !== 'succeeded' &&
                    !hopeless &&
                    h(
                        'button',
                        { type: 'button', class: 'button', onclick: guarded(retry) },
                        'Try again',
                    ),
                ended && delete_button(),
            ].filter(Boolean),
        );
    }

    // ── what can be done with a result ──
    async function again(changes) {
        const made = await api.job_create({
            model: job.model?.id ?? job.model,
            kind: job.kind,
            march: job.march,
            options: job.options ?? {},
            project: job.project ?? '',
            labels: job.labels ?? {},
            ...changes,
        });
        location.hash = `#/jobs/${encodeURIComponent(made.id)}`;
    }

    async function retry() {
        await api.job_retry(id);
        body.replaceChildren();
        await start();
    }

    function marches_menu() {
        const slot = h('span', { class: 'march-menu' });
        marches_load(signal).then(
            (list) =>
                slot.replaceChildren(
                    ...list
                        .filter((m) => m.name !== job.march)
                        .map((m) =>
                            h(
                                'button',
                                {
                                    type: 'button',
                                    class: 'button',
                                    onclick: guarded(() => again({ march: m.name })),
                                },
                                `${KINDS[job.kind] ?? 'Check'} for ${m.title ?? m.name}`,
                            ),
                        ),
                ),
            () => {},
        );
        return slot;
    }

    function delete_button() {
        const button = h(
            'button',
            {
                type: 'button',
                class: 'button quiet',
                onclick: guarded(async () => {
                    if (button.dataset.sure !== 'yes') {
                        button.dataset.sure = 'yes';
                        button.textContent = 'Really delete?';
                        setTimeout(() => {
                            button.dataset.sure = '';
                            button.textContent = 'Delete';
                        }, 4000);
                        return;
                    }
                    await api.job_delete(id);
                    announce('Deleted');
                    location.hash = '#/?view=results';
                }),
            },
            'Delete',
        );
        return button;
    }

    // ── while it runs ──
    function progress() {
        const bar = h('progress', { max: 1, 'aria-label': 'Progress of the job' });
        const text = h(
            'p',
            { class: 'progress-text', role: 'status' },
            job.state === 'queued' ? 'Waiting for a worker …' : 'Starting …',
        );
        let last = '';
        const update = (u) => {
            if (api.ENDED.has(u.state)) return;
            if (u.state) job.state = u.state;
            if (u.stage !== undefined) job.stage = u.stage;
            if (typeof u.progress === 'number' && job.state === 'running') bar.value = u.progress;
            const now =
                job.state === 'queued'
                    ? 'Waiting for a worker …'
                    : `${STAGES[job.stage] ?? job.stage ?? 'Working'} …`;
            if (now !== last) text.textContent = last = now;
        };
        update(job);
        return {
            element: h(
                'section',
                { class: 'card progress-card', 'aria-label': 'Progress' },
                bar,
                text,
                h(
                    'button',
                    { type: 'button', class: 'button', onclick: guarded(() => api.job_cancel(id)) },
                    'Cancel',
                ),
            ),
            update,
        };
    }

    // ── when it has ended ──
    async function result() {
        if (job.state === 'failed') return failed();
        if (job.state === 'cancelled') {
            announce('Cancelled');
            return body.replaceChildren(
                h(
                    'section',
                    { class: 'verdict verdict-plain' },
                    icon('cancelled'),
                    h(
                        'div',
                        {},
                        h('h2', {}, 'Cancelled'),
                        h('p', {}, 'The job was stopped before it had a verdict.'),
                    ),
                ),
            );
        }
        apply_params = await report_show(body, job, params, signal);
    }

    function failed() {
        const doc = job.error ?? { title: 'The job failed', detail: 'The server gave no reason.' };
        announce(`Failed: ${doc.title ?? ''}`);
        const card = problem_card(doc);
        if (doc.code === 'shape_needed') card.append(shape_form(doc));
        body.replaceChildren(card);
    }

    function shape_form(doc) {
        const wanted = new Set(inputs_of_problem(doc));
        for (const i of Array.isArray(model?.inputs) ? model.inputs : []) {
            if (!Array.isArray(i.shape) || i.shape.some((d) => typeof d !== 'number' || d < 0))
                wanted.add(i.name);
        }
        const fields = shape_fields([...wanted], job.options ?? {}, doc.hint);
        return h(
            'form',
            {
                class: 'shape-form',
                id: 'shape-form',
                onsubmit: guarded(async (e) => {
                    e.preventDefault();
                    await again({ options: { ...job.options, ...shape_options(fields) } });
                }),
            },
            fields,
            h('button', { type: 'submit', class: 'button primary' }, `${KINDS[job.kind] ?? 'Check'} with these shapes`),
        );
    }

    guarded(start)();
    return (next) => {
        apply_params(next);
        return true;
    };
}
