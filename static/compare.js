// compare: two results side by side: what changed in figures, findings and layers; and how two are picked, in the
// list of results and on the page of one.

import { h, announce, breakable, bytes, count, millis, number, relative } from './dom.js';
import * as api from './api.js';
import { march_title } from './march.js';
import { problem_card, problem_of } from './problem.js';

const COMPARABLE = new Set(['check', 'compile', 'perf', 'pipeline', 'quantize', 'evaluate']);
const LAYERS = 100;

export const compare_href = (base, head) =>
    `#/compare?base=${encodeURIComponent(base)}&head=${encodeURIComponent(head)}`;
const comparable = (job) => job.state === 'succeeded' && COMPARABLE.has(job.kind);
const there = (v) => typeof v === 'number';

// ── picking two ──

/** For the list of results: a box in each row, and a line that appears once one is chosen. */
export function compare_picker() {
    const chosen = new Map();
    const line = h('p', { class: 'compare-line', role: 'status', hidden: true });
    const draw = () => {
        const jobs = [...chosen.values()].sort((a, b) => (millis(a.created) ?? 0) - (millis(b.created) ?? 0));
        line.hidden = jobs.length === 0;
        line.replaceChildren(
            jobs.length === 2
                ? h('a', { class: 'button primary', href: compare_href(jobs[0].id, jobs[1].id) }, 'Compare the two')
                : jobs.length === 1
                  ? 'One result is chosen; choose another one to compare.'
                  : `${jobs.length} results are chosen; two can be compared.`,
        );
    };
    return {
        element: line,
        box: (job) =>
            comparable(job)
                ? h('input', {
                      type: 'checkbox',
                      class: 'compare-box',
                      'aria-label': `Compare ${job.model_name ?? job.id}, ${job.kind}`,
                      checked: chosen.has(job.id),
                      onchange: (e) => {
                          if (e.target.checked) chosen.set(job.id, job);
                          else chosen.delete(job.id);
                          draw();
                      },
                  })
                : '',
    };
}

/** For the page of a result: the earlier ones of the same name. */
export function compare_menu(job, signal) {
    const slot = h('span', { class: 'compare-menu' });
    if (!comparable(job) || !job.model_name) return slot;
    api.job_list({ q: job.model_name, limit: 30 }, signal).then(
        (page) => {
            const others = (page.items ?? []).filter(
                (j) => j.id !== job.id && j.model_name === job.model_name && comparable(j) && !j.labels?.derived_from,
            );
            if (!others.length || signal.aborted) return;
            const words = (j) =>
                [j.kind, march_title(j.march), ...Object.entries(j.options ?? {}).map(([k, v]) => `${k}=${v}`)]
                    .join(' ')
                    .slice(0, 60);
            slot.append(
                h(
                    'select',
                    {
                        'aria-label': 'Compare with another result of this model',
                        onchange: (e) => {
                            if (e.target.value) location.hash = compare_href(e.target.value, job.id);
                        },
                    },
                    h('option', { value: '' }, 'Compare with …'),
                    others.map((j) => h('option', { value: j.id }, `${words(j)}, ${relative(j.created)}`)),
                ),
            );
        },
        () => {},
    );
    return slot;
}

// ── the comparison ──

const NAMES = {
    latency_us: 'Latency', fps: 'Frames per second', ddr_bytes: 'DDR traffic', ddr_load_bytes: 'Loaded',
    ddr_store_bytes: 'Stored', spills_bytes: 'Spilled maps', sram_peak_bytes: 'On-chip peak', program_bytes: 'Program',
    constant_bytes: 'Constants', instructions: 'Instructions', ops: 'Operations', utilization: 'Utilization',
    bound_us: 'No less than', host_nodes: 'Nodes on the CPU', nodes: 'Nodes', illegal_nodes: 'Illegal nodes',
    cpu_segments: 'Parts on the CPU', top1: 'Top-1 in fixed point', top5: 'Top-5 in fixed point',
    float_top1: 'Top-1 in float', float_top5: 'Top-5 in float', loss_points: 'Lost to fixed point',
    agreement: 'Same answer as float', output_sqnr_db: 'Worst output',
};

function value(v, unit) {
    if (!there(v)) return '–';
    if (unit === 'B') return v < 0 ? `−${bytes(-v)}` : bytes(v);
    if (unit === 'share') return `${(100 * v).toFixed(2)} %`;
    const digits = Math.abs(v) >= 1000 || Number.isInteger(v) ? 0 : Math.abs(v) >= 10 ? 2 : 3;
    return `${v.toLocaleString('en', { maximumFractionDigits: digits })}${unit ? ` ${unit}` : ''}`;
}
const signed = (v, unit) => (there(v) && v > 0 ? `+${value(v, unit)}` : value(v, unit));
const percent = (v) => (there(v) ? `${v > 0 ? '+' : ''}${v.toFixed(Math.abs(v) < 10 ? 2 : 1)} %` : '');
const mood = (outcome) => (outcome === 'worse' ? 'is-worse' : outcome === 'better' ? 'is-better' : '');

const NUMBERS = new Set(['Base', 'Head', 'Change']);

function table(caption, heads, rows, id) {
    return h(
        'div',
        { class: 'table-scroll' },
        h(
            'table',
            { class: 'table', id },
            h('caption', { class: 'visually-hidden' }, caption),
            h('thead', {}, h('tr', {}, heads.map((t) => h('th', { scope: 'col', class: NUMBERS.has(t) ? 'num' : null }, t)))),
            h('tbody', {}, rows),
        ),
    );
}

function figures(doc) {
    const both = Object.entries(doc.figures).filter(([, f]) => there(f.base) && there(f.head));
    const changed = both.filter(([, f]) => f.outcome !== 'same');
    const same = both.length - changed.length;
    return h(
        'section',
        { class: 'card' },
        h('h2', {}, 'Figures'),
        changed.length
            ? table(
                  'Figures that changed',
                  ['Figure', 'Base', 'Head', 'Change', '', ''],
                  changed.map(([key, f]) =>
                      h(
                          'tr',
                          { 'data-figure': key },
                          h('th', { scope: 'row' }, NAMES[key] ?? key),
                          h('td', { class: 'num' }, value(f.base, f.unit)),
                          h('td', { class: 'num' }, value(f.head, f.unit)),
                          h('td', { class: 'num' }, signed(f.delta, f.unit)),
                          h('td', { class: 'num' }, percent(f.percent)),
                          h('td', { class: mood(f.outcome) }, f.outcome === 'different' ? '' : f.outcome),
                      ),
                  ),
                  'compare-figures',
              )
            : null,
        same ? h('p', { class: 'muted' }, `${count(same, 'figure')} ${same === 1 ? 'is' : 'are'} the same.`) : null,
    );
}

function findings(doc) {
    const f = doc.findings;
    if (f.availability) return null;
    const row = (what, cls) => (x) =>
        h(
            'tr',
            { 'data-finding': what },
            h('td', { class: cls }, what),
            h('td', {}, x.was ? `${x.severity}, was ${x.was}` : x.severity),
            h('td', { class: 'mono' }, x.rule),
            h('td', { class: 'mono' }, breakable(x.node ?? '')),
            h('td', {}, x.message),
        );
    return h(
        'section',
        { class: 'card', id: 'compare-findings' },
        h('h2', {}, 'Findings'),
        h(
            'p',
            {},
            `${number(f.gained.length)} gained, ${number(f.lost.length)} lost, ${number(f.changed.length)} changed, ${number(f.kept)} as before`,
        ),
        f.gained.length + f.lost.length + f.changed.length
            ? table(
                  'Findings that changed',
                  ['', 'Severity', 'Rule', 'Node', ''],
                  [
                      ...f.gained.map(row('gained', 'is-worse')),
                      ...f.changed.map(row('changed', '')),
                      ...f.lost.map(row('lost', 'is-better')),
                  ].slice(0, 300),
              )
            : null,
    );
}

function layers(doc) {
    const l = doc.layers;
    if (l.availability) return null;
    const key = l.order;
    const unit = key === 'time_us' ? 'us' : key.endsWith('_bytes') ? 'B' : key === 'sqnr_db' ? 'dB' : '';
    const row = (x) => {
        const d = there(x[key]?.base) || there(x[key]?.head)
            ? (there(x[key].head) ? x[key].head : 0) - (there(x[key].base) ? x[key].base : 0)
            : null;
        const was = x.base_layers && x.head_layers && x.base_layers !== x.head_layers;
        const worse = d !== null && d !== 0 && d > 0 === (key !== 'sqnr_db');
        return h(
            'tr',
            { 'data-layer': x.name },
            h('td', {}, x.status),
            h(
                'th',
                { scope: 'row' },
                h('span', { class: 'mono' }, breakable(x.head_layers ?? x.base_layers)),
                h(
                    'span',
                    { class: 'muted small block' },
                    [x.op, was ? `was ${x.base_layers}` : '', x.reshaped ? 'another shape' : ''].filter(Boolean).join(' · '),
                ),
            ),
            h('td', { class: 'num' }, value(x[key]?.base, unit)),
            h('td', { class: 'num' }, value(x[key]?.head, unit)),
            h('td', { class: `num ${d ? (worse ? 'is-worse' : 'is-better') : ''}` }, d === null ? '–' : signed(d, unit)),
            h('td', { class: 'num' }, percent(x[key]?.percent)),
        );
    };
    return h(
        'section',
        { class: 'card', id: 'compare-layers' },
        h('h2', {}, 'Layers'),
        h(
            'p',
            {},
            `${l.unchanged} unchanged, ${l.changed} changed, ${l.added} added, ${l.removed} removed, ${l.fused} fused, ${l.split} split; ${l.renamed} renamed`,
        ),
        l.items.length
            ? table('Layers that changed, the most first', ['', 'Layer', 'Base', 'Head', 'Change', ''], l.items.slice(0, LAYERS).map(row))
            : null,
        l.items.length > LAYERS
            ? h('p', { class: 'muted' }, `${l.items.length - LAYERS} more change less; the JSON has them.`)
            : null,
    );
}

function side(name, s) {
    const words = [march_title(s.march), s.kinds, s.options, s.verdict].filter(Boolean).join(' · ');
    return h(
        'div',
        { class: 'compare-side', 'data-side': name },
        h('span', { class: 'muted small block' }, name),
        h('a', { href: `#/jobs/${encodeURIComponent(s.job)}` }, s.model.name || 'unnamed'),
        h('span', { class: 'muted small block' }, words),
    );
}

export function compare_view(root, params, signal) {
    const body = h('div', {}, h('p', { class: 'muted' }, 'Loading …'));
    root.append(h('h1', { tabindex: '-1' }, 'Comparison'), body);
    document.title = 'Comparison – BPU Hub';
    const base = params.get('base') ?? '';
    const head = params.get('head') ?? '';
    const query = `base=${encodeURIComponent(base)}&head=${encodeURIComponent(head)}`;
    api.compare(query, signal).then(
        (doc) => {
            if (signal.aborted) return;
            document.title = `${doc.head.model.name} compared – BPU Hub`;
            body.replaceChildren(
                h(
                    'section',
                    { class: 'card compare-head', id: 'compare' },
                    side('base', doc.base),
                    h('span', { 'aria-hidden': 'true' }, '→'),
                    side('head', doc.head),
                    h(
                        'div',
                        { class: 'actions' },
                        h('a', { class: 'button', href: compare_href(head, base) }, 'Swap'),
                        h('a', { class: 'button', href: `/v1/compare.html?${query}`, target: '_blank', rel: 'noopener' }, 'As a page'),
                        h('a', { class: 'button', href: `/v1/compare?${query}`, type: 'application/json' }, 'JSON'),
                    ),
                ),
                ...[figures(doc), findings(doc), layers(doc)].filter(Boolean),
            );
            announce('The comparison is there');
        },
        (e) => {
            if (signal.aborted) return;
            body.replaceChildren(
                problem_card(problem_of(e), {
                    actions: [h('a', { class: 'button', href: '#/?view=results' }, 'To the results')],
                }),
            );
        },
    );
    return (next) => next.get('base') === base && next.get('head') === head;
}
