// measured: the report of a perf or pipeline job: how fast, how sure, what holds it up, what to change; the page
// with the timeline and the roofline is one link away.

import { h, icon, breakable, bytes, number } from './dom.js';
import { march_title } from './march.js';
import { picture_panel } from './compiled.js';
import { card, column, figure, file_link, known, missing, panel, percent, stat } from './quantized.js';

const us = (v) => figure(v, (x) => `${x < 100 ? x.toFixed(2) : x < 10000 ? x.toFixed(1) : number(Math.round(x))} µs`);
const size = (v) => figure(v, (x) => bytes(x));
const shape = (s) => (Array.isArray(s) ? s.join('×') : '');
const BOUNDS = {
    compute: 'an engine works nearly all of the time',
    padding: 'an engine works, mostly on padding',
    issue: 'starting takes longer than working',
    load: 'waits for bytes from DDR',
    store: 'waits for bytes to DDR',
    host: 'runs on the CPU',
    nothing: 'takes no time of its own',
};

function costliest(report) {
    const layers = [...(report.layers ?? [])].sort((a, b) => (b.time_us ?? 0) - (a.time_us ?? 0)).slice(0, 5);
    const most = layers[0]?.share || 1;
    return h(
        'section',
        { class: 'measured-half', id: 'costliest' },
        h('h3', {}, 'Costliest layers'),
        h(
            'ol',
            { class: 'costs' },
            layers
                .filter((l) => l.time_us > 0)
                .map((l) =>
                    h(
                        'li',
                        {},
                        h('span', { class: 'mono' }, breakable(l.name)),
                        h('b', {}, us(l.time_us), ' · ', percent(l.share, 1)),
                        h('meter', {
                            min: 0,
                            max: 1,
                            value: (l.share ?? 0) / most,
                            'aria-label': `share of the time of ${l.name}`,
                        }),
                        h('span', { class: 'muted small' }, BOUNDS[l.bound] ?? l.bound),
                    ),
                ),
        ),
    );
}

function advice(report) {
    const list = Array.isArray(report.advice) ? report.advice : [];
    const row = (a) =>
        h(
            'li',
            { 'data-code': a.code },
            h('b', {}, figure(a.win_us, (x) => `−${x.toFixed(1)} µs`)),
            h('span', {}, a.text, h('span', { class: 'muted small block' }, a.action)),
        );
    return h(
        'section',
        { class: 'measured-half', id: 'perf-advice' },
        h('h3', {}, 'What to change, and what it wins'),
        list.length
            ? h('ol', { class: 'wins' }, list.slice(0, 5).map(row))
            : h('p', { class: 'muted' }, 'Nothing that was tried wins 0.2 % of the time.'),
        list.length > 5
            ? h(
                  'details',
                  {},
                  h('summary', {}, `${list.length - 5} more`),
                  h('ol', { class: 'wins' }, list.slice(5).map(row)),
              )
            : null,
        h('p', { class: 'muted small' }, 'Each was found by timing the program again; wins do not add up.'),
    );
}

function layers_panel(report) {
    return panel(
        'Layers',
        [
            {
                key: 'node',
                label: 'Layer',
                cls: 'col-name',
                value: (l) => l.name,
                cell: (l) => [
                    h('span', { class: 'mono' }, breakable(l.name)),
                    h('span', { class: 'muted small block' }, `${l.op} · ${shape(l.shape_nhwc)}`),
                ],
            },
            { key: 'bound', label: 'Bound by', value: (l) => l.bound, cell: (l) => h('span', { title: BOUNDS[l.bound] }, l.bound) },
            column('time', 'Time', (l) => l.time_us, us, 0),
            column('share', 'Share', (l) => l.share, (v) => percent(v, 1), 0),
            column('compute', 'Compute', (l) => l.compute_us, us, 0),
            column('load', 'Load', (l) => l.load_us, us, 0),
            column('store', 'Store', (l) => l.store_us, us, 0),
            column('ops', 'Operations', (l) => l.ops, (v) => figure(v, number), 0),
            column('padding', 'Padding', (l) => l.padding, (v) => percent(v, 0), 0),
            column('ddr', 'DDR', (l) => l.ddr_load_bytes + l.ddr_store_bytes, size, 0),
        ],
        (report.layers ?? []).filter((l) => l.instructions > 0).sort((a, b) => (b.time_us ?? 0) - (a.time_us ?? 0)),
        'The longest first. At every moment the engines at work share the time among their layers, so that all times add up.',
    );
}

function traffic_panel(report) {
    const t = report.traffic ?? {};
    return panel(
        'DDR traffic by tensor',
        [
            { key: 'name', label: 'Tensor', value: (r) => r.name, cell: (r) => h('span', { class: 'mono' }, breakable(r.name)) },
            { key: 'kind', label: 'Kind', value: (r) => r.kind, cell: (r) => r.kind },
            column('in', 'In', (r) => r.ddr_load_bytes, size, 0),
            column('out', 'Out', (r) => r.ddr_store_bytes, size, 0),
        ],
        t.tensors ?? [],
        `Weights ${bytes(t.constants_bytes ?? 0)}, inputs ${bytes(t.inputs_bytes ?? 0)}, outputs ${bytes(t.outputs_bytes ?? 0)}, maps that do not stay on the chip ${bytes(t.spills_bytes ?? 0)}.`,
    );
}

/** Opens in a tab of its own, where the page's script may run and nothing else. */
function page_link(job) {
    if (!job.artifacts?.some((a) => a.name === 'report.html')) return null;
    return h(
        'a',
        {
            class: 'button',
            href: `/v1/jobs/${encodeURIComponent(job.id)}/artifacts/report.html`,
            target: '_blank',
            rel: 'noopener',
            'data-page-of': 'report.html',
        },
        'Timeline, roofline and more',
    );
}

/** Limits that the job was given, and what came of them. */
function gates(report) {
    const list = report.gates?.results ?? [];
    return list.length
        ? h(
              'span',
              { class: 'block', 'data-gates': report.gates.passed ? 'passed' : 'failed' },
              list.map((g) =>
                  h('span', { class: `block gate-${g.passed ? 'passed' : 'failed'}` }, icon(g.passed ? 'ok' : 'error'), ` ${g.text ?? g.gate}`),
              ),
          )
        : null;
}

const expected = (e) => (e?.text ? e.text : (missing(e) ?? 'not known'));

export function perf_view(report, job, signal) {
    const s = report.summary ?? {};
    const bound = s.ddr_bound_us > s.compute_bound_us ? 'DDR' : 'compute';
    const picture = (name, title, below) => picture_panel(job, name, title, below, signal);
    const made = new Set((job.artifacts ?? []).map((a) => a.name));
    return {
        announce: known(s.latency_us) ? `Measured: ${s.latency_us.toFixed(1)} microseconds, ${s.fps?.toFixed?.(1) ?? ''} frames per second` : 'Measured',
        card: h(
            'div',
            { class: 'measured' },
            card({
                title: known(s.fps) ? `${s.fps.toFixed(s.fps < 100 ? 2 : 1)} frames/s` : 'Measured',
                march: report.march,
                text: [
                    `${report.options?.canonical ?? ''}. `,
                    h('span', { class: 'block muted small', 'data-expected': 'error' }, `Expected error of the latency: ${expected(report.expected_error)}`),
                    gates(report),
                    report.uncalibrated
                        ? h('span', { class: 'uncalibrated' }, icon('warning'), ' Placeholder scales: speed and memory are real, results are not.')
                        : null,
                ],
                links: [page_link(job), file_link(job, 'report.html', 'Save that page'), file_link(job, 'model.bpu', 'model.bpu')],
                notes: report.notes,
                stats: [
                    stat('Latency', 'latency', us(s.latency_us)),
                    stat('No less than', 'bound', us(s.bound_us)),
                    stat(`Of the bound (${bound})`, 'bound-share', percent(s.bound_share, 0)),
                    stat('DDR a frame', 'ddr', known(s.ddr_bytes) ? bytes(s.ddr_bytes / (s.frames || 1)) : '–'),
                    stat('Array utilization', 'utilization', percent(s.utilization, 1)),
                    stat('On chip', 'sram', figure(s.sram_peak_bytes / s.sram_bytes, (x) => `${(100 * x).toFixed(0)} %`)),
                    s.host_nodes > 0 && stat('On the CPU', 'host', number(s.host_nodes), 'warning'),
                ],
            }),
            h('section', { class: 'card measured-pair', 'aria-label': `Where the time goes on ${march_title(report.march)}` }, costliest(report), advice(report)),
        ),
        tabs: [
            ['layers', `Layers (${number(s.layers ?? 0)})`, layers_panel(report)],
            made.has('schedule.svg') && [
                'schedule',
                'Schedule',
                picture('schedule.svg', 'schedule.svg', 'What each engine does when; what has one colour belongs to one layer.'),
            ],
            made.has('memory.svg') && [
                'memory',
                'Memory',
                picture('memory.svg', 'memory.svg', 'What lies where in on-chip memory, from the first instruction on the left to the last.'),
            ],
            ['traffic', 'DDR traffic', traffic_panel(report)],
        ].filter(Boolean),
    };
}
