// compiled: the report of a compile job: figures, layers with the longest first, the pictures of the schedule
// and of the memory plan, what goes in and out.

import { h, icon, breakable, bytes, count, number } from './dom.js';
import * as api from './api.js';
import { march_title } from './march.js';
import { sanitised_svg } from './sanitise.js';
import { card, column, figure, file_link, known, panel, percent, stat } from './quantized.js';

const us = (v) => figure(v, (x) => `${x < 100 ? x.toFixed(2) : number(Math.round(x))} µs`);
const mega = (v) => figure(v, (x) => bytes(x));
const shape = (s) => (Array.isArray(s) ? s.join('×') : '');

/** A picture of the job, loaded when it is looked at first. */
export function picture_panel(job, name, title, below, signal) {
    const place = h('div', { class: 'picture', 'data-picture': name }, h('p', { class: 'muted' }, 'Loading …'));
    let asked = false;
    async function load() {
        asked = true;
        try {
            const text = await api.artifact_text(job.id, name, signal);
            const { svg, sheet } = sanitised_svg(text, name === 'memory.svg' ? '.bpu-plan' : '.bpu-schedule');
            document.adoptedStyleSheets.push(sheet);
            signal.addEventListener('abort', () => {
                document.adoptedStyleSheets = document.adoptedStyleSheets.filter((s) => s !== sheet);
            });
            place.replaceChildren(svg);
        } catch (e) {
            if (!signal.aborted)
                place.replaceChildren(h('p', { class: 'muted' }, e.message || 'The picture could not be loaded.'));
        }
    }
    const seen = new IntersectionObserver((entries) => {
        if (!asked && entries.some((e) => e.isIntersecting)) {
            seen.disconnect();
            load();
        }
    });
    seen.observe(place);
    signal.addEventListener('abort', () => seen.disconnect());
    return h(
        'div',
        { class: 'panel-body' },
        h('p', { class: 'muted small' }, below),
        place,
        h('p', {}, file_link(job, name, title)),
    );
}

function busiest(busy) {
    const list = Object.entries(busy ?? {}).filter(([, v]) => known(v));
    return list.sort((a, b) => b[1] - a[1])[0]?.[0] ?? '';
}

function layers_panel(report) {
    const layers = (report.layers ?? []).filter((l) => l.instructions > 0);
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
            column('time', 'Time', (l) => l.time_us, us, 0),
            column('share', 'Share', (l) => l.share, (v) => percent(v, 1), 0),
            { key: 'engine', label: 'Engine', value: (l) => busiest(l.busy_us), cell: (l) => busiest(l.busy_us) },
            column('in', 'DDR in', (l) => l.ddr_load_bytes, mega, 0),
            column('out', 'DDR out', (l) => l.ddr_store_bytes, mega, 0),
            column('spill', 'Spilled', (l) => l.spill_bytes, mega, 0),
        ],
        [...layers].sort((a, b) => (b.share ?? 0) - (a.share ?? 0)),
        'The longest first. At every moment the engines at work share the time among their layers, so that all times add up.',
    );
}

function engines_panel(report) {
    const ddr = report.ddr ?? {};
    const kinds = [
        ['constants_bytes', 'weights, tables and constant operands'],
        ['inputs_bytes', 'inputs of the network'],
        ['outputs_bytes', 'outputs of the network'],
        ['spills_bytes', 'feature maps that do not stay on the chip'],
    ];
    return h(
        'div',
        {},
        panel(
            'Engines',
            [
                { key: 'engine', label: 'Engine', value: (e) => e.engine, cell: (e) => `core ${e.core}, ${e.engine}` },
                column('instructions', 'Instructions', (e) => e.instructions, (v) => figure(v, number)),
                column('busy', 'Busy', (e) => e.busy_us, us),
                column('share', 'Share of the time', (e) => e.utilization, (v) => percent(v, 1)),
            ],
            report.engines ?? [],
        ),
        panel(
            'DDR',
            [
                { key: 'what', label: 'What moves', cell: (r) => r.what },
                column('bytes', 'Bytes', (r) => r.bytes, (v) => figure(v, number)),
            ],
            kinds.map(([key, what]) => ({ what, bytes: ddr[key] })),
        ),
    );
}

function ports_panel(report) {
    return panel(
        'Inputs and outputs',
        [
            { key: 'name', label: 'Name', cell: (p) => [p.way, ' ', h('span', { class: 'mono' }, breakable(p.name))] },
            { key: 'shape', label: 'Shape', cell: (p) => shape(p.shape) },
            { key: 'dtype', label: 'Type', cell: (p) => p.dtype },
            { key: 'layout', label: 'Layout', cell: (p) => p.layout },
            { key: 'source', label: 'Source', cell: (p) => p.source },
            column('scale', 'Scale', (p) => p.scale, (v) =>
                Array.isArray(v) ? 'per channel' : figure(v, (x) => x.toPrecision(5)),
            ),
            column('bytes', 'Bytes', (p) => p.bytes, (v) => figure(v, number)),
        ],
        [
            ...(report.inputs ?? []).map((p) => ({ ...p, way: 'in' })),
            ...(report.outputs ?? []).map((p) => ({ ...p, way: 'out' })),
        ],
    );
}

export function compile_view(report, job, signal) {
    const s = report.summary ?? {};
    const moved = (s.ddr_load_bytes ?? 0) + (s.ddr_store_bytes ?? 0);
    const share = known(s.sram_bytes) && s.sram_bytes > 0 ? s.sram_peak_bytes / s.sram_bytes : null;
    return {
        announce: known(s.predicted_us) ? `Compiled: ${s.predicted_us.toFixed(1)} microseconds` : 'Compiled',
        card: card({
            title: 'Compiled',
            march: report.march,
            text: [
                `${String(report.options?.opt ?? '')}, ${count(report.options?.cores ?? 1, 'core')}.`,
                report.uncalibrated
                    ? h(
                          'span',
                          { class: 'uncalibrated' },
                          icon('warning'),
                          ' Placeholder scales: speed and memory are real, results are not.',
                      )
                    : null,
            ],
            links: [
                file_link(job, 'model.bpu', 'model.bpu'),
                file_link(job, 'report.html', 'The report as a page'),
            ],
            notes: report.notes,
            stats: [
                stat('Predicted time', 'predicted', us(s.predicted_us)),
                stat('No less than', 'bound', us(s.bound_us)),
                known(s.fps) && stat('Runs per second', 'fps', s.fps.toFixed(1)),
                stat('DDR traffic', 'ddr', bytes(moved)),
                stat('On chip', 'sram', figure(share, (x) => `${(100 * x).toFixed(0)} %`)),
                stat('Maps spilled', 'spilled', number(s.spilled_maps), s.spilled_maps > 0 ? 'warning' : 'zero'),
                stat('Instructions', 'instructions', number(s.instructions)),
                s.host_nodes > 0 && stat('On the CPU', 'host', number(s.host_nodes), 'warning'),
            ],
        }),
        tabs: [
            ['layers', `Layers (${number(s.layers ?? 0)})`, layers_panel(report)],
            [
                'schedule',
                'Schedule',
                picture_panel(job, 'schedule.svg', 'schedule.svg', 'What each engine does when; what has one colour belongs to one layer.', signal),
            ],
            [
                'memory',
                'Memory',
                picture_panel(job, 'memory.svg', 'memory.svg', 'What lies where in on-chip memory, from the first instruction on the left to the last.', signal),
            ],
            ['engines', 'Engines', engines_panel(report)],
            ['ports', 'In and out', ports_panel(report)],
        ].filter(Boolean),
    };
}
