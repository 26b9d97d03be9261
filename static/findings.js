// findings: the findings of a check as a table, with filters by severity, cause, rule, node and text.

import { h, icon, badge, breakable, debounce, count, number, plain } from './dom.js';
import { table_new } from './table.js';

const SEVERITIES = ['error', 'warning', 'advice'];
const WORDS = { error: 'Error', warning: 'Warning', advice: 'Advice' };

export function severity_badge(severity) {
    return badge(severity, severity, WORDS[severity] ?? severity);
}

const figure = (text) =>
    text ? h('span', { class: text.length < 14 ? 'mono nowrap' : 'mono' }, text) : '–';

function text_of(f) {
    return [
        f.rule,
        f.node,
        f.op,
        f.source_op,
        f.message,
        plain(f.actual),
        plain(f.limit),
        f.hint,
        f.eager_replacement,
    ]
        .filter(Boolean)
        .join('\n')
        .toLowerCase();
}

/** A layer of a rewrite as PyTorch writes it; what is the default there is left out. */
function layer_text(step) {
    const pair = (p) => `(${p.join(', ')})`;
    const args = [];
    if (step.op.includes('Pad2d'))
        return `${step.op}(${pair([step.padding[1], step.padding[1], step.padding[0], step.padding[0]])})`;
    if (step.out !== undefined) args.push(step.in, step.out);
    if (step.kernel_size) {
        args.push(pair(step.kernel_size));
        const usual = { stride: step.op.includes('Pool') ? undefined : 1, padding: 0, dilation: 1 };
        for (const [key, value] of Object.entries(usual))
            if (!step[key].every((x) => x === value)) args.push(`${key}=${pair(step[key])}`);
        if (step.groups > 1) args.push(`groups=${step.groups}`);
    }
    return `${step.op}(${args.join(', ')})`;
}

/** The layers that the checker proposes instead, folded away below the hint that speaks of them. */
function rewrite_details(rewrite) {
    const sides =
        rewrite.side_by_side > 1 ? `, ${rewrite.side_by_side} times side by side, then ${rewrite.join}` : '';
    return h(
        'details',
        { class: 'rewrite', onclick: (event) => event.stopPropagation() },
        h('summary', {}, 'The layers'),
        h('p', {}, `With an input of ${rewrite.input.join('x')}${sides}:`),
        h('ol', {}, ...rewrite.steps.map((step) => h('li', {}, h('code', {}, breakable(layer_text(step)))))),
    );
}

/** findings: of the report; onlocate(node name) is called when the user asks to see a node. */
export function findings_panel(findings, { onlocate }) {
    const rows = findings.map((f, index) => ({ ...f, index, text: text_of(f) }));
    const filter = { severities: new Set(), text: '', rule: '', cause: '', node: null };
    let selected = null;

    const tally = (key, value) => findings.filter((f) => f[key] === value).length;
    const toggles = SEVERITIES.filter((s) => tally('severity', s) > 0).map((s) =>
        h(
            'button',
            {
                type: 'button',
                class: `toggle toggle-${s}`,
                'aria-pressed': 'false',
                'data-severity': s,
                onclick: (e) => {
                    if (!filter.severities.delete(s)) filter.severities.add(s);
                    e.currentTarget.setAttribute('aria-pressed', String(filter.severities.has(s)));
                    apply();
                },
            },
            icon(s),
            `${WORDS[s]} `,
            h('span', { class: 'n' }, number(tally('severity', s))),
        ),
    );
    const rules = [...new Set(findings.map((f) => f.rule))].sort();
    const search = h('input', {
        id: 'f-text',
        type: 'search',
        placeholder: 'Node, rule, message …',
        autocomplete: 'off',
        oninput: debounce(80, (e) => {
            filter.text = e.target.value.trim().toLowerCase();
            apply();
        }),
    });
    const rule = h(
        'select',
        {
            id: 'f-rule',
            onchange: (e) => {
                filter.rule = e.target.value;
                apply();
            },
        },
        h('option', { value: '' }, 'Any'),
        rules.map((r) => h('option', { value: r }, `${r} (${tally('rule', r)})`)),
    );
    const cause = h(
        'select',
        {
            id: 'f-cause',
            onchange: (e) => {
                filter.cause = e.target.value;
                apply();
            },
        },
        h('option', { value: '' }, 'Any'),
        h('option', { value: 'direct' }, `Direct (${tally('cause', 'direct')})`),
        h('option', { value: 'induced' }, `Induced by another node (${tally('cause', 'induced')})`),
    );
    const chip = h('div', { class: 'chips' });
    const status = h('p', { class: 'muted small', role: 'status' });

    const locate_button = (f) =>
        f.node
            ? h(
                  'button',
                  {
                      type: 'button',
                      class: 'node-link',
                      title: 'Show in the drawing',
                      'data-finding': f.index,
                      onclick: () => {
                          select_row(f.index);
                          onlocate(f.node);
                      },
                  },
                  icon('target'),
                  h('span', {}, breakable(f.node)),
              )
            : h('span', { class: 'muted' }, 'whole model');

    const table = table_new({
        caption: 'Findings',
        cls: 'findings',
        initial: 'severity', // what makes the model illegal comes first, each kind in graph order
        row_props: (f) => ({
            'data-index': f.index,
            'data-node-name': f.node,
            class: f.index === selected ? 'is-selected' : null,
        }),
        columns: [
            {
                key: 'node',
                label: 'Node',
                value: (f) => f.node,
                cls: 'c-node',
                cell: (f) => [
                    locate_button(f),
                    f.op && h('div', { class: 'sub mono' }, breakable(f.op)),
                    f.source_op &&
                        f.source_op !== f.op &&
                        h('div', { class: 'sub mono' }, breakable(f.source_op)),
                ],
            },
            {
                key: 'severity',
                label: 'Severity',
                value: (f) => SEVERITIES.indexOf(f.severity),
                cls: 'c-severity',
                cell: (f) => [
                    severity_badge(f.severity),
                    f.cause === 'induced' && h('div', { class: 'sub' }, 'induced'),
                ],
            },
            {
                key: 'rule',
                label: 'Rule',
                value: (f) => f.rule,
                cls: 'c-rule',
                cell: (f) => [
                    h('code', { class: 'rule' }, breakable(f.rule)),
                    f.table && h('div', { class: 'sub' }, `${f.table} table`),
                ],
            },
            {
                key: 'message',
                label: 'Message',
                value: (f) => f.message,
                cls: 'c-message',
                cell: (f) => [
                    h('div', {}, f.message),
                    f.hint && h('div', { class: 'hint' }, f.hint),
                    f.rewrite && rewrite_details(f.rewrite),
                    f.eager_replacement &&
                        h(
                            'div',
                            { class: 'hint' },
                            'Replace with ',
                            h('code', {}, breakable(f.eager_replacement)),
                        ),
                ],
            },
            {
                key: 'actual',
                label: 'Actual',
                value: (f) => (typeof f.actual === 'number' ? f.actual : plain(f.actual)),
                cls: 'c-value',
                cell: (f) => figure(plain(f.actual)),
            },
            {
                key: 'limit',
                label: 'Limit',
                value: (f) => plain(f.limit),
                cls: 'c-value',
                cell: (f) => figure(plain(f.limit)),
            },
        ],
    });

    function select_row(index) {
        selected = index;
        for (const tr of table.body.children)
            tr.classList.toggle('is-selected', Number(tr.dataset.index) === index);
    }

    function clear() {
        Object.assign(filter, { text: '', rule: '', cause: '', node: null });
        filter.severities.clear();
        for (const t of toggles) t.setAttribute('aria-pressed', 'false');
        search.value = rule.value = cause.value = '';
        apply();
    }

    function apply() {
        const shown = rows.filter(
            (f) =>
                (filter.severities.size === 0 || filter.severities.has(f.severity)) &&
                (!filter.rule || f.rule === filter.rule) &&
                (!filter.cause || f.cause === filter.cause) &&
                (filter.node === null || f.node === filter.node) &&
                (!filter.text || f.text.includes(filter.text)),
        );
        table.set(shown);
        const narrowed = shown.length !== rows.length || filter.node !== null;
        status.textContent = narrowed
            ? `${number(shown.length)} of ${count(rows.length, 'finding')}`
            : count(rows.length, 'finding');
        chip.replaceChildren();
        if (filter.node !== null) {
            chip.append(
                h(
                    'button',
                    {
                        type: 'button',
                        class: 'chip',
                        'aria-label': `Only node ${filter.node}: show all`,
                        onclick: () => {
                            filter.node = null;
                            apply();
                        },
                    },
                    `Node: ${filter.node}`,
                    icon('close'),
                ),
            );
        }
        if (narrowed)
            chip.append(
                h(
                    'button',
                    { type: 'button', class: 'button quiet small', onclick: clear },
                    'Clear the filters',
                ),
            );
        table.element.hidden = shown.length === 0;
    }

    const field = (id, label, control, cls = '') =>
        h('div', { class: `field ${cls}` }, h('label', { for: id }, label), control);
    const element = h(
        'div',
        { class: 'panel-body' },
        rows.length === 0
            ? h(
                  'p',
                  { class: 'empty' },
                  icon('ok'),
                  'Nothing to report: every node is within the limits.',
              )
            : [
                  h(
                      'div',
                      { class: 'filters' },
                      h(
                          'div',
                          { class: 'toggles', role: 'group', 'aria-label': 'Severity' },
                          toggles,
                      ),
                      field('f-text', 'Search', search, 'grow'),
                      field('f-rule', 'Rule', rule),
                      field('f-cause', 'Cause', cause),
                  ),
                  h('div', { class: 'list-line' }, status, chip),
                  table.element,
              ],
    );
    if (rows.length) apply();

    return {
        element,
        /** Shows only the findings of one node (null: of all). */
        filter_node(name) {
            filter.node = name;
            apply();
        },
        of_node: (name) => rows.filter((f) => f.node === name),
    };
}
