// quantized: the reports of quantize and evaluate jobs: figures, layers with the worst first, what was
// fused, scales, suggestions. A figure that is not there shows a dash, with the reason as its title.

import { h, icon, breakable, count, number } from './dom.js';
import { march_title } from './march.js';
import { table_new } from './table.js';

const POOR_DB = 20;
const BINS = 160;
const SVG = 'http://www.w3.org/2000/svg';

export const missing = (v) => (v && v.availability === 'unavailable' ? (v.reason ?? '') : null);
export const known = (v) => typeof v === 'number';

export function figure(v, text) {
    return known(v)
        ? text(v)
        : h('span', { class: 'muted', title: missing(v) ?? 'not known' }, '–');
}

const db = (v) =>
    figure(v, (x) =>
        h('span', { class: x < POOR_DB ? 'poor' : null }, `${x.toFixed(1)} dB`),
    );
export const percent = (v, digits = 2) => figure(v, (x) => `${(100 * x).toFixed(digits)} %`);
const order = (v, otherwise = Infinity) => (known(v) ? v : otherwise);

// ── above: the figures ──

export function stat(label, key, text, kind = 'plain') {
    return h(
        'li',
        { class: `stat stat-${kind}`, 'data-stat': key },
        h('b', {}, text),
        h('span', {}, label),
    );
}

export function card({ title, march, text, stats, links, notes }) {
    return h(
        'section',
        { class: 'verdict verdict-plain', id: 'figures' },
        h(
            'div',
            { class: 'verdict-main' },
            icon('ok'),
            h(
                'div',
                {},
                h('h2', {}, title, h('span', { class: 'verdict-march' }, ` for ${march_title(march)}`)),
                h('p', {}, text),
                h('p', { class: 'actions' }, links),
                notes?.length
                    ? h(
                          'details',
                          { class: 'notes' },
                          h('summary', {}, count(notes.length, 'note')),
                          h('ul', {}, notes.map((n) => h('li', {}, n))),
                      )
                    : null,
            ),
        ),
        h('ul', { class: 'stats' }, stats.filter(Boolean)),
    );
}

export function file_link(job, name, text) {
    if (!job.artifacts?.some((a) => a.name === name)) return null;
    return h(
        'a',
        {
            class: 'button',
            href: `/v1/jobs/${encodeURIComponent(job.id)}/artifacts/${name}`,
            download: name,
            'data-file': name,
        },
        icon('download'),
        text,
    );
}

// ── tables ──

/** Counts as one path; the tails can be seen because heights go with the square root. */
export function histogram(data) {
    const counts = data?.counts;
    if (!Array.isArray(counts) || !counts.length) return null;
    const most = Math.max(...counts);
    if (!(most > 0)) return null;
    const svg = document.createElementNS(SVG, 'svg');
    svg.setAttribute('class', 'histogram');
    svg.setAttribute('viewBox', `0 0 ${BINS} 36`);
    svg.setAttribute('role', 'img');
    const title = document.createElementNS(SVG, 'title');
    title.textContent = `values from ${data.from.toPrecision(4)} to ${data.to.toPrecision(4)}`;
    const path = document.createElementNS(SVG, 'path');
    const step = BINS / counts.length;
    path.setAttribute(
        'd',
        `M0 36${counts.map((c, i) => `V${(36 - 34 * Math.sqrt(c / most)).toFixed(1)}H${((i + 1) * step).toFixed(1)}`).join('')}V36Z`,
    );
    svg.append(title, path);
    return svg;
}

export function panel(caption, columns, rows, below) {
    const table = table_new({ columns, caption });
    table.set(rows);
    return h(
        'div',
        { class: 'panel-body' },
        below && h('p', { class: 'muted small' }, below),
        table.element,
    );
}

const name_of = (row) => row.node ?? row.name ?? '';
const layer_name = {
    key: 'node',
    label: 'Layer',
    cls: 'col-name',
    value: name_of,
    cell: (l) => [
        h('span', { class: 'mono' }, breakable(name_of(l))),
        l.op && h('span', { class: 'muted small block' }, l.op),
    ],
};
const dtype = { key: 'dtype', label: 'Type', value: (l) => l.dtype, cell: (l) => l.dtype };
export const column = (key, label, get, show, otherwise) => ({
    key,
    label,
    cls: 'col-number',
    value: (l) => order(get(l), otherwise),
    cell: (l) => show(get(l)),
});

function shapes_of_values(list, key) {
    const by = new Map();
    if (Array.isArray(list)) for (const v of list) if (!by.has(v[key])) by.set(v[key], v.histogram);
    return by;
}

function scales_panel(values) {
    return panel(
        'Scales',
        [
            { ...layer_name, label: 'Value', value: (v) => v.name, cell: (v) => breakable(v.name) },
            dtype,
            column('scale', 'Scale', (v) => v.scale, (x) => figure(x, (s) => s.toPrecision(5))),
            { key: 'observer', label: 'Observer', value: (v) => v.observer, cell: (v) => v.observer },
            column('min', 'Min', (v) => v.min, (x) => figure(x, (s) => s.toPrecision(4))),
            column('max', 'Max', (v) => v.max, (x) => figure(x, (s) => s.toPrecision(4))),
            column('saturated', 'Cut off', (v) => v.saturated, (x) => percent(x, 3)),
            { key: 'histogram', label: 'Values', cell: (v) => histogram(v.histogram) },
        ],
        values,
    );
}

function fused_panel(report) {
    const rows = [
        ...(report.fused ?? []).map((f) => ({ ...f, text: f.nodes })),
        ...(report.not_fused ?? []).map((f) => ({ ...f, text: `not further: ${f.reason}` })),
    ];
    return panel(
        'Fused',
        [
            { key: 'node', label: 'Into', value: (f) => f.node, cell: (f) => breakable(f.node) },
            { key: 'sequence', label: 'Sequence', value: (f) => f.sequence, cell: (f) => f.sequence },
            { key: 'text', label: 'Nodes', cell: (f) => breakable(f.text ?? '') },
        ],
        rows,
    );
}

// ── quantize ──

export function quantize_view(report, job) {
    const s = report.summary ?? {};
    const outputs = Array.isArray(report.outputs) ? report.outputs : [];
    const worst = outputs.reduce((a, b) => (!a || order(b.sqnr_db) < order(a.sqnr_db) ? b : a), null);
    const layers = Array.isArray(report.layers) ? report.layers : [];
    const shapes = shapes_of_values(report.values, 'name');
    return {
        announce: `Quantized: ${count(s.fixed ?? 0, 'operator')} in integers`,
        card: card({
            title: 'Quantized',
            march: report.march,
            text:
                s.scales === 'calibration'
                    ? `Calibrated on ${count(s.calibration_frames, 'frame')}.`
                    : 'With the scales of the file.',
            links: [
                file_link(job, 'fixed.bpug', 'fixed.bpug'),
                file_link(job, 'report.html', 'The report as a page'),
            ],
            notes: report.notes,
            stats: [
                worst && stat('SQNR of the result', 'sqnr', db(worst.sqnr_db)),
                worst && stat('Cosine', 'cosine', figure(worst.cosine, (x) => x.toFixed(5))),
                stat('In integers', 'fixed', number(s.fixed), 'ok'),
                stat('In float', 'float', number(s.float), s.float > 0 ? 'warning' : 'zero'),
            ],
        }),
        tabs: [
            [
                'layers',
                `Layers (${number(layers.length)})`,
                panel(
                    'Layers',
                    [
                        layer_name,
                        dtype,
                        column('sqnr', 'SQNR', (l) => l.sqnr_db, db),
                        column('cosine', 'Cosine', (l) => l.cosine, (x) => figure(x, (c) => c.toFixed(5))),
                        column('saturated', 'Saturated', (l) => l.saturated, (x) => percent(x, 3)),
                        { key: 'values', label: 'Values', cell: (l) => histogram(shapes.get(l.name)) },
                    ],
                    layers,
                    missing(report.layers)
                        ? `There is no comparison: ${missing(report.layers)}`
                        : 'The ones that hurt most first.',
                ),
            ],
            Array.isArray(report.values) && [
                'scales',
                `Scales (${number(report.values.length)})`,
                scales_panel(report.values),
            ],
            ['fused', `Fused (${number(report.fused?.length ?? 0)})`, fused_panel(report)],
        ].filter(Boolean),
    };
}

// ── evaluate ──

function suggestions_panel(s) {
    const together = s?.together && !missing(s.together) ? [s.together] : [];
    return panel(
        'Suggestions',
        [
            { ...layer_name, cell: (x) => breakable(x.node ?? 'all of these') },
            { key: 'change', label: 'Change', value: (x) => x.change, cell: (x) => x.change },
            column('sqnr', 'SQNR of the result', (x) => x.output_sqnr_db, db),
            column('gain', 'Gain', (x) => x.gain_db, db),
            column('top1', 'Right', (x) => x.top1, percent),
            {
                key: 'qconfig',
                label: 'In the qconfig',
                cell: (x) => h('code', { class: 'small' }, JSON.stringify(x.change_qconfig)),
            },
        ],
        [...(s?.items ?? []), ...together],
        missing(s) ??
            (s?.items?.length
                ? 'Each was tried: the figures are measured.'
                : 'Nothing that was tried makes it better.'),
    );
}

function classes_panel(network) {
    return panel(
        'Classes',
        [
            { key: 'class', label: 'Class', cls: 'col-number', value: (c) => c.class, cell: (c) => c.class },
            column('count', 'Samples', (c) => c.count, (x) => figure(x, number)),
            column('predicted', 'Predicted', (c) => c.predicted, (x) => figure(x, number)),
            column('recall', 'Recall', (c) => c.recall, percent),
            column('precision', 'Precision', (c) => c.precision, percent),
        ],
        network.classes,
    );
}

export function evaluate_view(report, job) {
    const real = report.float ?? {};
    const fixed = report.fixed ?? {};
    const layers = Array.isArray(report.layers) ? report.layers : [];
    const weights = shapes_of_values(report.weights, 'node');
    const values = shapes_of_values(report.activations, 'name');
    const network = missing(fixed) === null ? fixed : real;
    const share = report.agreement?.share;
    return {
        announce: known(fixed.top1)
            ? `Evaluated: ${(100 * fixed.top1).toFixed(2)} % right in fixed point`
            : 'Evaluated',
        card: card({
            title: 'Evaluated',
            march: report.march,
            text: [
                `On ${count(report.summary?.frames ?? 0, 'frame')}.`,
                known(share) ? ` Float and fixed point agree on ${(100 * share).toFixed(2)} %.` : '',
            ],
            links: [file_link(job, 'report.html', 'The report as a page')],
            stats: [
                stat('Right in fixed point', 'top1-fixed', percent(fixed.top1)),
                stat('Right in float', 'top1-float', percent(real.top1)),
                known(report.loss_points) &&
                    stat('Points lost', 'loss', report.loss_points.toFixed(2)),
                known(fixed.top5) && stat('First five, fixed', 'top5-fixed', percent(fixed.top5)),
                known(real.top5) && stat('First five, float', 'top5-float', percent(real.top5)),
            ],
        }),
        tabs: [
            [
                'layers',
                `Layers (${number(layers.length)})`,
                panel(
                    'Layers',
                    [
                        layer_name,
                        dtype,
                        column('own', 'Own SQNR', (l) => l.own?.sqnr_db, db),
                        column('sqnr', 'So far', (l) => l.accumulated?.sqnr_db, db),
                        column('cosine', 'Cosine', (l) => l.accumulated?.cosine, (x) =>
                            figure(x, (c) => c.toFixed(5)),
                        ),
                        column('saturated', 'Saturated', (l) => l.accumulated?.saturated, (x) =>
                            percent(x, 3),
                        ),
                        { key: 'values', label: 'Values', cell: (l) => histogram(values.get(l.name)) },
                        { key: 'weights', label: 'Weights', cell: (l) => histogram(weights.get(l.node)) },
                    ],
                    layers,
                    missing(report.layers)
                        ? `There is no comparison: ${missing(report.layers)}`
                        : 'The ones that hurt most first.',
                ),
            ],
            [
                'suggestions',
                `Suggestions (${number(report.suggestions?.items?.length ?? 0)})`,
                suggestions_panel(report.suggestions),
            ],
            Array.isArray(network.classes) && [
                'classes',
                `Classes (${number(network.classes.length)})`,
                classes_panel(network),
            ],
        ].filter(Boolean),
    };
}
