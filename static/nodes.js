// nodes: the nodes of the model as a table: operator, where it came from, verdict, shapes.

import { h, icon, badge, breakable, debounce, count, number, shape } from './dom.js';
import { severity_badge } from './findings.js';
import { table_new } from './table.js';

export function verdict_badge(verdict) {
    if (verdict === 'legal') return badge('ok', 'ok', 'Legal');
    if (verdict === 'illegal') return badge('error', 'error', 'Illegal');
    return badge('plain', 'folded', verdict === 'folded' ? 'Folded' : (verdict ?? '?'));
}

export function values_text(values) {
    // An operand that is left out is null.
    return (values ?? []).map((v) => (v ? `${shape(v.shape)} ${v.dtype ?? ''}`.trim() : 'none'));
}

export function nodes_panel(nodes, { onlocate }) {
    const rows = nodes.map((n, index) => ({
        ...n,
        index,
        text: `${n.name}\n${n.op}\n${n.source_op ?? ''}`.toLowerCase(),
    }));
    const filter = { text: '', verdict: '' };
    const list = (values) =>
        values?.length
            ? h(
                  'ul',
                  { class: 'shapes-list mono' },
                  values_text(values).map((t) => h('li', {}, t)),
              )
            : '–';

    const table = table_new({
        caption: 'Nodes',
        cls: 'nodes',
        row_props: (n) => ({ 'data-index': n.index }),
        columns: [
            {
                key: 'name',
                label: 'Node',
                value: (n) => n.name,
                cls: 'c-node',
                cell: (n) =>
                    h(
                        'button',
                        {
                            type: 'button',
                            class: 'node-link',
                            title: 'Show in the drawing',
                            onclick: () => onlocate(n.name),
                        },
                        icon('target'),
                        h('span', {}, breakable(n.name)),
                    ),
            },
            {
                key: 'op',
                label: 'Operator',
                value: (n) => n.op,
                cls: 'c-op',
                cell: (n) => h('code', {}, breakable(n.op)),
            },
            {
                key: 'source',
                label: 'In the file',
                value: (n) => n.source_op,
                cls: 'c-op',
                cell: (n) => (n.source_op ? h('code', {}, breakable(n.source_op)) : '–'),
            },
            {
                key: 'verdict',
                label: 'Verdict',
                value: (n) => n.verdict,
                cell: (n) => [
                    verdict_badge(n.verdict),
                    n.fold_reason && h('div', { class: 'sub' }, n.fold_reason),
                ],
            },
            { key: 'inputs', label: 'Inputs', cell: (n) => list(n.inputs) },
            { key: 'outputs', label: 'Outputs', cell: (n) => list(n.outputs) },
        ],
    });
    const status = h('p', { class: 'muted small', role: 'status' });

    function apply() {
        const shown = rows.filter(
            (n) =>
                (!filter.verdict || n.verdict === filter.verdict) &&
                (!filter.text || n.text.includes(filter.text)),
        );
        table.set(shown);
        status.textContent =
            shown.length === rows.length
                ? count(rows.length, 'node')
                : `${number(shown.length)} of ${count(rows.length, 'node')}`;
    }

    const element = h(
        'div',
        { class: 'panel-body' },
        h(
            'div',
            { class: 'filters' },
            h(
                'div',
                { class: 'field grow' },
                h('label', { for: 'n-text' }, 'Search'),
                h('input', {
                    id: 'n-text',
                    type: 'search',
                    placeholder: 'Name or operator',
                    autocomplete: 'off',
                    oninput: debounce(80, (e) => {
                        filter.text = e.target.value.trim().toLowerCase();
                        apply();
                    }),
                }),
            ),
            h(
                'div',
                { class: 'field' },
                h('label', { for: 'n-verdict' }, 'Verdict'),
                h(
                    'select',
                    {
                        id: 'n-verdict',
                        onchange: (e) => {
                            filter.verdict = e.target.value;
                            apply();
                        },
                    },
                    h('option', { value: '' }, 'Any'),
                    ['legal', 'illegal', 'folded'].map((v) =>
                        h('option', { value: v }, v[0].toUpperCase() + v.slice(1)),
                    ),
                ),
            ),
        ),
        h('div', { class: 'list-line' }, status),
        table.element,
    );
    apply();
    return { element };
}

/** What there is to say of a chosen node: operator, shapes, the first findings and the way to all of them. */
export function node_info(n, findings, { onclose, onfindings }) {
    return [
        h(
            'div',
            { class: 'node-info-head' },
            verdict_badge(n.verdict),
            h('strong', { class: 'mono' }, n.name),
            h(
                'button',
                {
                    type: 'button',
                    class: 'icon-button',
                    'aria-label': 'Close',
                    onclick: onclose,
                },
                icon('close'),
            ),
        ),
        h(
            'p',
            { class: 'mono small' },
            n.op,
            n.source_op && n.source_op !== n.op ? ` ← ${n.source_op}` : '',
        ),
        n.fold_reason &&
            h(
                'p',
                { class: 'small' },
                `Folded: ${n.fold_reason}`,
                n.folded_into && [', into ', h('span', { class: 'mono' }, n.folded_into)],
            ),
        (n.where?.scope || n.where?.file) &&
            h(
                'p',
                { class: 'mono small muted' },
                n.where.scope ?? '',
                n.where.file ? ` ${n.where.file}:${n.where.line ?? '?'}` : '',
            ),
        h(
            'p',
            { class: 'mono small muted' },
            values_text(n.inputs).join(', ') || '–',
            ' → ',
            values_text(n.outputs).join(', ') || '–',
        ),
        findings.length
            ? h(
                  'ul',
                  { class: 'node-findings' },
                  findings
                      .slice(0, 4)
                      .map((f) =>
                          h('li', {}, severity_badge(f.severity), h('span', {}, f.message)),
                      ),
              )
            : null,
        findings.length
            ? h(
                  'button',
                  {
                      type: 'button',
                      class: 'button small',
                      onclick: onfindings,
                  },
                  `Show ${count(findings.length, 'finding')} in the table`,
              )
            : null,
    ].filter(Boolean);
}
