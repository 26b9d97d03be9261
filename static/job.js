// job: one result: progress while it runs, then the verdict with findings, nodes and drawing, or what went wrong.

import { h, icon, announce, bytes, count, number, timeElement, duration } from './dom.js';
import * as api from './api.js';
import { march_title, marches_load } from './march.js';
import { problem_card, problem_of } from './problem.js';
import { model_name } from './results.js';
import { shape_fields, shape_options, inputs_of_problem } from './shapes.js';
import { findings_panel, severity_badge } from './findings.js';
import { nodes_panel, values_text, verdict_badge } from './nodes.js';
import { drawing_panel } from './drawing.js';

const STAGES = { import: 'Reading the model', check: 'Checking the operators', draw: 'Drawing', store: 'Storing the results' };
const FAULTS_OF_INPUT = new Set(['unrecognised_format', 'bad_model', 'unsupported_model', 'shape_needed', 'bad_shape', 'bad_option']);

export function job_view(root, id, params, signal) {
  const title = h('h1', { tabindex: '-1' }, 'Result');
  const facts = h('p', { class: 'facts muted' });
  const actions = h('div', { class: 'actions' });
  const body = h('div', { class: 'job-body' }, h('p', { class: 'muted' }, 'Loading …'));
  root.append(h('div', { class: 'job-head' }, h('div', {}, title, facts), actions), body);
  let job = null;
  let model = null;
  let apply_params = () => {};

  /** What is looked at stands in the address, so that it can be sent to a colleague. */
  function remember(key, value) {
    if (signal.aborted) return;
    const now = new URLSearchParams(location.hash.split('?')[1] ?? '');
    if (value) now.set(key, value);
    else now.delete(key);
    history.replaceState(history.state, '', `#/jobs/${encodeURIComponent(id)}${now.size ? `?${now}` : ''}`);
  }

  function fail(error) {
    if (signal.aborted) return;
    body.replaceChildren(problem_card(problem_of(error), {
      actions: [h('a', { class: 'button', href: '#/' }, 'To the start')],
    }));
  }

  const guarded = (f) => async (...args) => {
    try { await f(...args); } catch (e) { fail(e); }
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
      announce(`Checking ${name()}`);
      job = { ...job, ...await api.job_watch(id, { signal, onupdate: box.update }) };
      model = await api.model(model_id, signal).catch(() => model);
      head();
    }
    await result();
  }

  const name = () => (model_name(job) === String(job.model).slice(0, 12) ? model?.name : model_name(job)) || model?.name || 'unnamed';

  function head() {
    title.textContent = name();
    document.title = `${name()} – BPU Hub`;
    const parts = [
      h('span', {}, march_title(job.march) ? `${job.kind} for ${march_title(job.march)}` : job.kind),
      model?.format && h('span', {}, model.format), model?.bytes && h('span', {}, bytes(model.bytes)),
      model?.parameters > 0 && h('span', {}, `${number(model.parameters)} parameters`),
      job.project && h('span', {}, `project ${job.project}`),
      ...Object.entries(job.labels ?? {}).map(([k, v]) => h('span', { class: 'mono' }, `${k}=${v}`)),
      h('span', {}, timeElement(job.created)),
      job.state === 'succeeded' && job.attempts === 0 ? h('span', {}, 'answered from an earlier result')
        : duration(job.started, job.finished) && h('span', {}, `took ${duration(job.started, job.finished)}`),
    ];
    facts.replaceChildren(...parts.filter(Boolean));
    const ended = api.ENDED.has(job.state);
    // What is wrong with the file is wrong again, whatever the march.
    const hopeless = job.state === 'failed' && FAULTS_OF_INPUT.has(job.error?.code);
    actions.replaceChildren(...[
      ended && !hopeless && marches_menu(),
      ended && job.state !== 'succeeded' && !hopeless && h('button', { type: 'button', class: 'button', onclick: guarded(retry) }, 'Try again'),
      ended && delete_button(),
    ].filter(Boolean));
  }

  // ── what can be done with a result ──
  async function again(changes) {
    const made = await api.job_create({
      model: job.model?.id ?? job.model, kind: job.kind, march: job.march, options: job.options ?? {},
      project: job.project ?? '', labels: job.labels ?? {}, ...changes,
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
    marches_load(signal).then((list) => slot.replaceChildren(...list.filter((m) => m.name !== job.march).map((m) =>
      h('button', { type: 'button', class: 'button', onclick: guarded(() => again({ march: m.name })) }, `Check for ${m.title ?? m.name}`))), () => {});
    return slot;
  }

  function delete_button() {
    const button = h('button', { type: 'button', class: 'button quiet', onclick: guarded(async () => {
      if (button.dataset.sure !== 'yes') {
        button.dataset.sure = 'yes';
        button.textContent = 'Really delete?';
        setTimeout(() => { button.dataset.sure = ''; button.textContent = 'Delete'; }, 4000);
        return;
      }
      await api.job_delete(id);
      announce('Deleted');
      location.hash = '#/?view=results';
    }) }, 'Delete');
    return button;
  }

  // ── while it runs ──
  function progress() {
    const bar = h('progress', { max: 1, 'aria-label': 'Progress of the job' });
    const text = h('p', { class: 'progress-text', role: 'status' }, job.state === 'queued' ? 'Waiting for a worker …' : 'Starting …');
    let last = '';
    const update = (u) => {
      if (api.ENDED.has(u.state)) return;
      if (u.state) job.state = u.state;
      if (u.stage !== undefined) job.stage = u.stage;
      if (typeof u.progress === 'number' && job.state === 'running') bar.value = u.progress;
      const now = job.state === 'queued' ? 'Waiting for a worker …' : `${STAGES[job.stage] ?? job.stage ?? 'Working'} …`;
      if (now !== last) text.textContent = last = now;
    };
    update(job);
    return {
      element: h('section', { class: 'card progress-card', 'aria-label': 'Progress' }, bar, text,
        h('button', { type: 'button', class: 'button', onclick: guarded(() => api.job_cancel(id)) }, 'Cancel')),
      update,
    };
  }

  // ── when it has ended ──
  async function result() {
    if (job.state === 'failed') return failed();
    if (job.state === 'cancelled') {
      announce('Cancelled');
      return body.replaceChildren(h('section', { class: 'verdict verdict-plain' }, icon('cancelled'),
        h('div', {}, h('h2', {}, 'Cancelled'), h('p', {}, 'The job was stopped before it had a verdict.'))));
    }
    const has_report = job.kind !== 'visualize';
    const report = has_report ? await api.report(id, signal) : null;
    if (signal.aborted) return;
    const check = report?.schema?.startsWith('bpuhub.check/') ? report : null;
    const drawing = drawing_panel({ onselect: (i) => selected(i), signal });
    const nodes = check?.nodes ?? [];
    const index_of = new Map();
    nodes.forEach((n, i) => { if (!index_of.has(n.name)) index_of.set(n.name, i); });

    function locate(node_name) {
      const i = index_of.get(node_name);
      if (i === undefined) return;
      const shown = drawing.select(i, { centred: true });
      if (shown && !drawing.in_sight()) drawing.element.scrollIntoView({ block: 'nearest' });
      announce(shown ? `${node_name} is shown in the drawing` : `${node_name} is not in the drawing`);
    }

    const findings = check ? findings_panel(check.findings ?? [], { onlocate: locate }) : null;
    const node_table = check ? nodes_panel(nodes, { onlocate: locate }) : null;

    /** A node was chosen in the drawing: what it is, and the way to its findings. */
    function selected(i) {
      const n = nodes[i];
      drawing.info.hidden = !n;
      remember('node', n?.name);
      if (!n) return;
      const own = findings?.of_node(n.name) ?? [];
      drawing.info.replaceChildren(
        h('div', { class: 'node-info-head' }, verdict_badge(n.verdict), h('strong', { class: 'mono' }, n.name),
          h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Close', onclick: () => drawing.select(-1) }, icon('close'))),
        h('p', { class: 'mono small' }, n.op, n.source_op && n.source_op !== n.op ? ` ← ${n.source_op}` : ''),
        h('p', { class: 'mono small muted' }, values_text(n.inputs).join(', ') || '–', ' → ', values_text(n.outputs).join(', ') || '–'),
        own.length ? h('ul', { class: 'node-findings' }, own.slice(0, 4).map((f) => h('li', {}, severity_badge(f.severity), h('span', {}, f.message)))) : null,
        own.length ? h('button', { type: 'button', class: 'button small', onclick: () => {
          tabs?.show('findings');
          findings.filter_node(n.name);
          findings.element.scrollIntoView({ block: 'nearest' });
          findings.element.querySelector('.node-link')?.focus({ preventScroll: true });
        } }, `Show ${count(own.length, 'finding')} in the table`) : null);
    }

    const tabs = check ? tab_panels([
      ['findings', `Findings (${number(check.findings?.length ?? 0)})`, findings.element],
      ['nodes', `Nodes (${number(nodes.length)})`, node_table.element],
      ['files', 'Files', files_panel()],
    ], params.get('tab'), (key) => remember('tab', key === 'findings' ? '' : key)) : null;

    body.replaceChildren(
      check ? verdict_card(check) : h('section', { class: 'verdict verdict-plain' }, icon('ok'), h('div', {}, h('h2', {}, 'Done'))),
      h('div', { class: check ? 'split' : 'split single' },
        h('section', { class: 'card panel' }, tabs?.element ?? files_panel()), drawing.element));
    if (check) {
      announce(`Verdict: ${check.verdict} on ${march_title(check.march)}, ${count(check.summary?.errors ?? 0, 'error')}`);
    }
    drawing.message('Drawing …');
    try {
      const text = await api.drawing(id, signal);
      if (signal.aborted) return;
      drawing.load(text, nodes);
      if (params.get('node')) locate(params.get('node'));
      apply_params = (next) => {
        tabs?.show(next.get('tab') ?? 'findings');
        if (next.get('node')) locate(next.get('node'));
      };
    } catch (e) {
      if (signal.aborted) return;
      const doc = problem_of(e);
      drawing.message(h('strong', {}, 'There is no drawing'), h('p', {}, doc.detail ?? doc.title), doc.hint && h('p', {}, doc.hint));
    }
  }

  function verdict_card(report) {
    const s = report.summary ?? {};
    const legal = report.verdict === 'legal';
    const chip = (label, n, kind, iconName) => h('li', { class: `stat stat-${n > 0 ? kind : 'zero'}`, 'data-stat': label.toLowerCase() },
      icon(iconName), h('b', {}, number(n)), h('span', {}, label));
    return h('section', { class: `verdict verdict-${legal ? 'ok' : 'error'}`, id: 'verdict', 'data-verdict': report.verdict },
      h('div', { class: 'verdict-main' }, icon(legal ? 'ok' : 'error'),
        h('div', {}, h('h2', {}, legal ? 'Legal' : 'Illegal', h('span', { class: 'verdict-march' }, ` on ${march_title(report.march)}`)),
          h('p', {}, legal ? `${s.folded > 0 ? 'All nodes that remain after folding' : 'All nodes'} can run on the BPU.`
            : `${number(s.illegal)} of ${count(s.nodes, 'node')} cannot run on the BPU.`,
          report.note ? ` ${report.note}` : ''))),
      h('ul', { class: 'stats' },
        chip('Nodes', s.nodes, 'plain', 'target'), chip('Legal', s.legal, 'ok', 'ok'), chip('Illegal', s.illegal, 'error', 'error'),
        chip('Folded', s.folded, 'plain', 'folded'), chip('Errors', s.errors, 'error', 'error'),
        chip('Warnings', s.warnings, 'warning', 'warning'), chip('Advice', s.advice, 'advice', 'advice')));
  }

  function files_panel() {
    const list = job.artifacts ?? [];
    return h('div', { class: 'panel-body' }, list.length ? h('ul', { class: 'files' }, list.map((a) =>
      h('li', {}, h('a', { href: safe_href(a, id), download: a.name }, icon('download'), a.name),
        h('span', { class: 'muted small' }, `${bytes(a.bytes)} · ${a.type ?? ''}`),
        a.sha256 && h('span', { class: 'muted small mono sha', title: 'SHA-256' }, a.sha256))))
      : h('p', { class: 'muted' }, 'No files.'),
    h('p', { class: 'muted small' }, 'Job ', h('code', {}, id)));
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
      if (!Array.isArray(i.shape) || i.shape.some((d) => typeof d !== 'number' || d < 0)) wanted.add(i.name);
    }
    const fields = shape_fields([...wanted], job.options ?? {}, doc.hint);
    return h('form', { class: 'shape-form', id: 'shape-form', onsubmit: guarded(async (e) => {
      e.preventDefault();
      await again({ options: { ...job.options, ...shape_options(fields) } });
    }) }, fields, h('button', { type: 'submit', class: 'button primary' }, 'Check with these shapes'));
  }

  guarded(start)();
  return (next) => {
    apply_params(next);
    return true;
  };
}

function safe_href(artifact, id) {
  const own = `/v1/jobs/${encodeURIComponent(id)}/artifacts/${encodeURIComponent(artifact.name)}`;
  return typeof artifact.href === 'string' && /^\/v1\//.test(artifact.href) ? artifact.href : own;
}

/** Tabs as the ARIA practices have them: arrows move between them, one is in the tab order. */
function tab_panels(tabs, wanted, onshow) {
  const buttons = tabs.map(([key, label]) => h('button', {
    type: 'button', role: 'tab', id: `tab-${key}`, 'aria-controls': `panel-${key}`, class: 'tab',
    onclick: () => { show(key); onshow(key); },
    onkeydown: (e) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      if (!by) return;
      const at = (tabs.findIndex(([k]) => k === key) + by + tabs.length) % tabs.length;
      buttons[at].click();
      buttons[at].focus();
    },
  }, label));
  const panels = tabs.map(([key, , content]) => h('div', { role: 'tabpanel', id: `panel-${key}`, 'aria-labelledby': `tab-${key}` }, content));
  function show(wish) {
    const key = tabs.some(([k]) => k === wish) ? wish : tabs[0][0];
    tabs.forEach(([k], i) => {
      buttons[i].setAttribute('aria-selected', String(k === key));
      buttons[i].tabIndex = k === key ? 0 : -1;
      panels[i].hidden = k !== key;
    });
  }
  show(wanted);
  return { element: h('div', {}, h('div', { role: 'tablist', class: 'tabs', 'aria-label': 'Details' }, buttons), panels), show };
}
