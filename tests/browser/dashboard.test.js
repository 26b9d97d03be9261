// dashboard: what a user does with the dashboard, done in a real browser against a real server.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, afterEach, before, describe, test } from 'node:test';
import * as models from './models.js';
import { browser_start, page_open, server_start, shot } from './setup.js';

let server, browser, open;

before(async () => {
  server = await server_start();
  browser = await browser_start();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Opens a page for one test; afterEach makes sure that it said nothing wrong. */
async function page_new({ path = '', ...options } = {}) {
  open = await page_open(browser, server.url, path, options);
  open.allowed = [];
  return open.page;
}
afterEach(async () => {
  if (!open) return;
  const { said, allowed } = open;
  await open.close();
  open = null;
  assert.deepEqual(said.filter((s) => !allowed.some((a) => a.test(s))), [], 'the page must say nothing wrong');
});

async function choose(page, file, march = 'bayes') {
  const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.click('#choose')]);
  await chooser.setFiles(file);
  await page.check(`input[name=march][value=${march}]`);
}

async function check(page, file, march) {
  await choose(page, file, march);
  await page.click('#submit');
  await page.waitForURL(/#\/jobs\//);
}

const verdict = async (page) => {
  await page.waitForSelector('#verdict');
  return page.getAttribute('#verdict', 'data-verdict');
};
const drawn = (page) => page.waitForSelector('#canvas > svg [id="node-0"]');
const stat = async (page, name) => Number((await page.textContent(`[data-stat=${name}] b`)).replaceAll(',', ''));
const no_overflow = async (page, what) => {
  const [inner, scroll] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
  assert.ok(scroll <= inner, `${what}: the page is ${scroll} px wide on a screen of ${inner} px`);
};
const view = (page) => page.$eval('#canvas', (c) => ({ k: Number(c.dataset.scale), x: Number(c.dataset.x), y: Number(c.dataset.y) }));

/** Whether an element lies within the canvas. */
const in_canvas = (page, selector) => page.evaluate((s) => {
  const c = document.querySelector('#canvas').getBoundingClientRect();
  const b = document.querySelector(s).getBoundingClientRect();
  return b.left >= c.left - 1 && b.right <= c.right + 1 && b.top >= c.top - 1 && b.bottom <= c.bottom + 1
    && b.top >= 0 && b.bottom <= innerHeight;
}, selector);

describe('upload', () => {
  test('a file chosen by the button gets its verdict, and a legal one says so', async () => {
    const page = await page_new();
    await shot(page, 'home-empty');
    assert.equal(await page.isDisabled('#submit'), true, 'nothing to send yet');
    await check(page, models.legal());
    assert.equal(await verdict(page), 'legal');
    assert.match(await page.textContent('#verdict'), /Legal on .*Bayes/i);
    assert.equal(await stat(page, 'nodes'), 2);
    assert.equal(await stat(page, 'errors'), 0);
    assert.match(await page.textContent('h1'), /two_convs/);
    await page.waitForFunction(() => /Verdict: legal/.test(document.getElementById('live').textContent));
    await drawn(page);
    await shot(page, 'legal');
  });

  test('a file dropped on the page goes into the form; the march is the chosen one', async () => {
    const page = await page_new();
    await page.waitForSelector('input[name=march]');
    const file = models.illegal('dropped');
    const transfer = await page.evaluateHandle(({ name, text }) => {
      const t = new DataTransfer();
      t.items.add(new File([text], name));
      return t;
    }, { name: file.name, text: file.buffer.toString() });
    await page.dispatchEvent('#zone', 'dragenter', { dataTransfer: transfer });
    assert.equal(await page.isVisible('#drop-veil'), true);
    await page.dispatchEvent('#zone', 'drop', { dataTransfer: transfer });
    assert.equal(await page.isVisible('#drop-veil'), false);
    assert.match(await page.textContent('.chosen'), /dropped\.json/);
    await page.check('input[name=march][value=bernoulli2]');
    await page.click('#submit');
    assert.equal(await verdict(page), 'illegal');
    assert.match(await page.textContent('#verdict'), /Illegal on .*Bernoulli ?2/i);
  });

  test('the upload and the job show how far they are', async () => {
    const page = await page_new();
    await page.waitForSelector('input[name=march]');
    await page.evaluate(() => {
      window.seen = new Set();
      new MutationObserver(() => {
        for (const p of document.querySelectorAll('progress')) window.seen.add(p.getAttribute('aria-label'));
      }).observe(document.body, { childList: true, subtree: true });
    });
    await check(page, models.legal('progress'));
    await verdict(page);
    const seen = await page.evaluate(() => [...window.seen]);
    assert.ok(seen.includes('Upload'), `bars seen: ${seen}`);
  });

  test('without an event stream the result still arrives', async () => {
    const page = await page_new();
    open.allowed.push(/events/);
    await page.route('**/events', (r) => r.abort());
    await check(page, models.legal('no_stream'));
    assert.equal(await verdict(page), 'legal');
  });

  test('keyboard only: from the page to a verdict', async () => {
    const page = await page_new();
    await page.waitForSelector('input[name=march]');
    const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.name || document.activeElement.tagName);
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'skip');
    await page.keyboard.press('Enter');
    assert.equal(await focused(), 'main');
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'choose');
    const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.keyboard.press('Enter')]);
    await chooser.setFiles(models.illegal('keyboard'));
    await page.waitForFunction(() => document.activeElement.id === 'submit');
    await page.keyboard.press('Shift+Tab');
    await page.keyboard.press('Shift+Tab');
    assert.equal(await focused(), 'march');
    const before = await page.$eval('input[name=march]:checked', (i) => i.value);
    await page.keyboard.press('ArrowDown');
    assert.notEqual(await page.$eval('input[name=march]:checked', (i) => i.value), before);
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    assert.equal(await verdict(page), 'illegal');
    assert.equal(await focused(), 'H1');

    // On to the findings and to the node in the drawing, still without a mouse.
    await drawn(page);
    await page.focus('[role=tab][aria-selected=true]');
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.isVisible('#panel-nodes'), true);
    await page.keyboard.press('ArrowLeft');
    assert.equal(await page.isVisible('#panel-findings'), true);
    await page.focus('.findings .node-link');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#node-1.is-selected');
  });
});

describe('a result', () => {
  test('findings: all of them, filtered by text, rule and severity, sorted', async () => {
    const page = await page_new();
    await check(page, models.illegal());
    assert.equal(await verdict(page), 'illegal');
    const total = await page.locator('.findings tbody tr').count();
    assert.ok(total >= 3, `${total} findings`);
    assert.equal(await stat(page, 'illegal'), 2);

    const row = page.locator('.findings tbody tr', { hasText: 'conv1' }).first();
    for (const [label, pattern] of [['Actual', /33/], ['Limit', /31/], ['Rule', /kernel/], ['Message', /\w+/], ['Severity', /Error/]]) {
      assert.match(await row.locator(`[data-label="${label}"]`).innerText(), pattern, label);
    }

    await page.fill('#f-text', 'conv3');
    await page.waitForFunction((n) => document.querySelectorAll('.findings tbody tr').length < n, total);
    for (const t of await page.locator('.findings tbody tr').allInnerTexts()) assert.match(t, /conv3/);
    await page.click('text=Clear the filters');
    assert.equal(await page.locator('.findings tbody tr').count(), total);

    const rule = await page.$eval('#f-rule option:nth-child(2)', (o) => o.value);
    await page.selectOption('#f-rule', rule);
    for (const t of await page.locator('.findings tbody [data-label=Rule]').allInnerTexts()) assert.ok(t.includes(rule));
    await page.selectOption('#f-rule', '');
    await page.selectOption('#f-cause', 'direct');
    assert.ok(await page.locator('.findings tbody tr').count() > 0);
    await page.selectOption('#f-cause', '');
    await page.click('.toggle-error');
    for (const t of await page.locator('.findings tbody [data-label=Severity]').allInnerTexts()) assert.match(t, /Error/);
    assert.equal(await page.getAttribute('.toggle-error', 'aria-pressed'), 'true');
    await page.click('.toggle-error');

    const actual = () => page.locator('.findings tbody [data-label=Actual]').allInnerTexts();
    await page.click('.findings th[data-key=actual] button');
    assert.equal(await page.getAttribute('.findings th[data-key=actual]', 'aria-sort'), 'ascending');
    const up = (await actual()).map(Number).filter((n) => !Number.isNaN(n));
    assert.deepEqual(up, [...up].sort((a, b) => a - b));
    await page.click('.findings th[data-key=actual] button');
    assert.equal(await page.getAttribute('.findings th[data-key=actual]', 'aria-sort'), 'descending');
    assert.match((await actual())[0], /35/);
    await shot(page, 'findings-sorted');
  });

  test('from a finding to its node and from a node to its findings', async () => {
    const page = await page_new();
    await check(page, models.illegal());
    await verdict(page);
    await drawn(page);
    await page.locator('.findings .node-link', { hasText: 'conv3' }).first().click();
    await page.waitForSelector('#node-3.is-selected');
    assert.equal(await page.getAttribute('#node-3', 'data-node'), 'conv3');
    assert.equal(await in_canvas(page, '#node-3'), true, 'the node is in sight');
    assert.match(await page.innerText('.node-info'), /conv3/);
    await shot(page, 'illegal');

    await page.focus('#canvas');
    await page.keyboard.press('Escape');
    await page.waitForSelector('.node-info', { state: 'hidden' });
    assert.equal(await page.locator('.is-selected[data-node]').count(), 0);
    await page.keyboard.press('0');
    await page.locator('#node-1').click();
    await page.waitForSelector('#node-1.is-selected');
    assert.equal(await page.locator('.is-selected[data-node]').count(), 1);
    await page.click('.node-info .button');
    const names = await page.locator('.findings tbody .node-link').allInnerTexts();
    assert.ok(names.length > 0 && names.every((n) => n.trim() === 'conv1'), names.join());
    await page.click('.chip');
    assert.ok(await page.locator('.findings tbody tr', { hasText: 'conv3' }).count() > 0);

    await page.click('#tab-nodes');
    assert.equal(await page.locator('.nodes tbody tr').count(), 5);
    assert.match(await page.innerText('.nodes tbody tr:nth-child(1)'), /conv0[\s\S]*Legal[\s\S]*1×16×64×64/);
    await page.selectOption('#n-verdict', 'illegal');
    assert.equal(await page.locator('.nodes tbody tr').count(), 2);
  });

  test('the drawing zooms, moves and fits by keyboard, wheel and buttons', async () => {
    const page = await page_new();
    await check(page, models.illegal());
    await drawn(page);
    await page.focus('#canvas');
    const start = await view(page);
    const changed = async (act, what) => {
      const was = await view(page);
      await act();
      await page.waitForFunction((w) => {
        const d = document.querySelector('#canvas').dataset;
        return Number(d.scale) !== w.k || Number(d.x) !== w.x || Number(d.y) !== w.y;
      }, was, { timeout: 3000 }).catch(() => assert.fail(`${what} changes nothing`));
      return [was, await view(page)];
    };
    let [was, now] = await changed(() => page.keyboard.press('+'), 'plus');
    assert.ok(now.k > was.k);
    [was, now] = await changed(() => page.keyboard.press('-'), 'minus');
    assert.ok(now.k < was.k);
    [was, now] = await changed(() => page.keyboard.press('ArrowRight'), 'right');
    assert.ok(now.x < was.x);
    [was, now] = await changed(() => page.keyboard.press('ArrowUp'), 'up');
    assert.ok(now.y > was.y);
    await page.keyboard.press('0');
    await page.waitForFunction(() => {
      const c = document.querySelector('#canvas').getBoundingClientRect();
      const s = document.querySelector('#canvas > svg').getBoundingClientRect();
      return s.top >= c.top - 1 && s.bottom <= c.bottom + 1 && s.left >= c.left - 1 && s.right <= c.right + 1;
    });
    const box = await page.locator('#canvas').boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    [was, now] = await changed(() => page.mouse.wheel(0, -200), 'wheel');
    assert.ok(now.k > was.k);
    [was, now] = await changed(async () => {
      await page.mouse.down();
      await page.mouse.move(box.x + box.width / 2 + 40, box.y + box.height / 2 + 30, { steps: 4 });
      await page.mouse.up();
    }, 'drag');
    assert.ok(Math.abs(now.x - was.x - 40) < 2 && Math.abs(now.y - was.y - 30) < 2, JSON.stringify([was, now]));
    await changed(() => page.click('[aria-label^="Fit"]'), 'fit');
    await page.focus('#canvas');
    await page.keyboard.press('n');
    await page.waitForSelector('#node-1.is-selected');
    await page.keyboard.press('n');
    await page.waitForSelector('#node-3.is-selected');
    await page.keyboard.press('p');
    await page.waitForSelector('#node-1.is-selected');
    assert.ok(start.k > 0);
  });

  test('two fingers zoom the drawing', async () => {
    const page = await page_new({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
    await check(page, models.illegal());
    await drawn(page);
    await page.locator('#canvas').scrollIntoViewIfNeeded();
    const box = await page.locator('#canvas').boundingBox();
    const [cx, cy] = [box.x + box.width / 2, box.y + box.height / 2];
    const was = await view(page);
    const cdp = await page.context().newCDPSession(page);
    const touch = (type, apart) => cdp.send('Input.dispatchTouchEvent', { type,
      touchPoints: apart === undefined ? [] : [{ x: cx - apart, y: cy, id: 0 }, { x: cx + apart, y: cy, id: 1 }] });
    await touch('touchStart', 30);
    for (const apart of [40, 60, 80, 90]) await touch('touchMove', apart);
    await touch('touchEnd');
    await page.waitForFunction((k) => Number(document.querySelector('#canvas').dataset.scale) > k * 2, was.k);
  });

  test('the address holds the chosen tab and node', async () => {
    const page = await page_new();
    await check(page, models.illegal());
    await drawn(page);
    await page.locator('.findings .node-link', { hasText: 'conv3' }).first().click();
    await page.click('#tab-nodes');
    assert.match(page.url(), /\?.*node=conv3.*tab=nodes/);
    await page.reload();
    await page.waitForSelector('#node-3.is-selected');
    assert.equal(await page.isVisible('#panel-nodes'), true);
  });

  test('a job that runs shows its stage and progress as they come', async () => {
    const page = await page_new();
    let asked = 0;
    await page.route(/\/v1\/jobs\/[^/]+$/, async (r) => {
      asked += 1;
      if (asked > 1) return r.continue();
      const response = await r.fetch();
      return r.fulfill({ response, json: { ...await response.json(), state: 'queued', stage: null, progress: 0, verdict: null } });
    });
    let release;
    const held = new Promise((resolve) => { release = resolve; });
    await page.route('**/events', async (r) => {
      await held;
      const event = (o) => `event: progress\ndata: ${JSON.stringify(o)}\n\n`;
      return r.fulfill({ contentType: 'text/event-stream', body: event({ state: 'running', stage: 'import', progress: 0.25 })
        + event({ state: 'running', stage: 'check', progress: 0.75 }) + event({ state: 'succeeded', stage: null, progress: 1 }) });
    });
    await check(page, models.legal('slow'));
    await page.waitForSelector('.progress-card:has-text("Waiting for a worker")');
    assert.equal(await page.isVisible('.progress-card button:has-text("Cancel")'), true);
    await page.evaluate(() => {
      window.seen = [];
      new MutationObserver(() => {
        const p = document.querySelector('.progress-card progress');
        if (p) window.seen.push(`${p.value} ${document.querySelector('.progress-text').textContent}`);
      }).observe(document.querySelector('.progress-card'), { childList: true, subtree: true, attributes: true });
    });
    release();
    assert.equal(await verdict(page), 'legal');
    const seen = await page.evaluate(() => window.seen.join('\n'));
    assert.match(seen, /0\.75 Checking the operators/);
  });

  test('a drawing from a hostile hand runs nothing and loads nothing', async () => {
    const page = await page_new();
    open.allowed.push(/sanitise\.js/); // the browser tells what the parser met; what counts is what is left
    await page.route('**/graph.svg', (r) => r.fulfill({ contentType: 'image/svg+xml', body: `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" class="bpu-drawing" viewBox="0 0 100 100" onload="window.owned=1">
      <script>window.owned=2</script>
      <style>@import url(http://example.invalid/x.css); body{display:none} .bpu-drawing .b,main{fill:lime} .bpu-drawing .b{fill:#123456;background:url(http://example.invalid/c)}</style>
      <foreignObject><body xmlns="http://www.w3.org/1999/xhtml"><img src="x" onerror="window.owned=3"/></body></foreignObject>
      <image href="http://example.invalid/x.png" width="9" height="9"/><use href="http://example.invalid/y.svg#a"/>
      <a xlink:href="javascript:window.owned=4"><text y="20">click</text></a>
      <animate attributeName="href" values="javascript:window.owned=5"/>
      <g id="node-0" class="node" data-node="conv0" onclick="window.owned=6" style="fill:red;background:url(http://example.invalid/z)"><rect class="b" width="40" height="30" fill="url(http://example.invalid/f)"/></g>
      <g id="main"/></svg>` }));
    await check(page, models.legal('hostile'));
    await drawn(page);
    const left = await page.$eval('#canvas > svg', (s) => ({
      tags: [...new Set([...s.querySelectorAll('*')].map((e) => e.localName))].sort(),
      attributes: [...s.querySelectorAll('*')].flatMap((e) => [...e.attributes].map((a) => `${a.name}=${a.value}`))
        .filter((a) => /^on|script|example|^style/.test(a)),
    }));
    assert.deepEqual(left.tags, ['a', 'g', 'rect', 'text', 'use']);
    assert.deepEqual(left.attributes, []);
    assert.equal(await page.getAttribute('#canvas > svg', 'onload'), null);
    assert.equal(await page.getAttribute('#node-0', 'fill'), 'red');
    assert.equal(await page.$eval('#node-0 rect', (r) => getComputedStyle(r).fill), 'rgb(18, 52, 86)', 'the rules of the drawing count');
    assert.equal(await page.isVisible('main'), true, 'rules for the page do not');
    assert.equal(await page.locator('[id=main]').count(), 1, 'ids of the page stay its own');
    await page.locator('#node-0').click();
    assert.equal(await page.evaluate(() => window.owned), undefined);
  });

  test('2,000 findings stay quick: paged by 200', async () => {
    const page = await page_new();
    await check(page, models.many(1000));
    assert.equal(await verdict(page), 'illegal');
    const n = await stat(page, 'errors');
    assert.ok(n >= 2000, `${n} errors`);
    assert.equal(await page.locator('.findings tbody tr').count(), 200);
    await page.waitForSelector('#canvas > svg, .canvas-message strong', { timeout: 30000 });
    const ms = await page.evaluate(async () => {
      const t = performance.now();
      document.querySelector('.findings th[data-key=message] button').click();
      document.body.getBoundingClientRect();
      await new Promise((r) => requestAnimationFrame(r));
      return performance.now() - t;
    });
    assert.ok(ms < 1000, `sorting took ${ms.toFixed()} ms`);
    await page.locator('#panel-findings .pager button', { hasText: 'Next' }).click();
    assert.match(await page.innerText('#panel-findings .pager'), /201–400 of/);
    await page.fill('#f-text', 'conv999');
    await page.waitForFunction(() => document.querySelectorAll('.findings tbody tr').length < 10);
    await page.locator('.findings .node-link').first().click();
    await page.waitForSelector('#node-999.is-selected', { timeout: 30000 });
    assert.equal(await in_canvas(page, '#node-999'), true);
  });

  test('the files of a result can be downloaded', async () => {
    const page = await page_new();
    await check(page, models.legal('files'));
    await verdict(page);
    await page.click('#tab-files');
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('.files a:has-text("report.json")')]);
    assert.equal(JSON.parse(await readFile(await download.path(), 'utf8')).verdict, 'legal');
  });

  test('the same model can be checked for the other march', async () => {
    const page = await page_new();
    await check(page, models.legal('both'), 'bayes');
    await verdict(page);
    const first = page.url();
    await page.click('button:has-text("Check for Bernoulli")');
    await page.waitForFunction((u) => location.href !== u, first);
    await page.waitForSelector('.verdict-march:has-text("Bernoulli")');
  });
});

describe('what goes wrong', () => {
  test('a broken file shows what, where and what to do', async () => {
    const page = await page_new();
    await check(page, models.broken());
    await page.waitForSelector('.problem');
    assert.match(await page.innerText('[data-field=where]'), /\d/);
    assert.ok((await page.innerText('[data-field=hint]')).length > 5);
    assert.equal(await page.innerText('[data-field=code]'), 'bad_model');
    await shot(page, 'failed');
  });

  test('what is not a model is told so', async () => {
    const page = await page_new();
    await choose(page, models.not_a_model());
    await page.click('#submit');
    await page.waitForSelector('.problem');
    open.allowed.push(/422|415|400/); // the browser notes an upload that is refused at once
    assert.match(await page.innerText('[data-field=code]'), /unrecognised_format|bad_model/);
    assert.ok((await page.innerText('[data-field=hint]')).length > 5);
  });

  test('an open input shape is asked for, and the retry gets its verdict', async () => {
    const page = await page_new();
    await check(page, models.open_shape());
    await page.waitForSelector('#shape-form');
    assert.equal(await page.innerText('[data-field=code]'), 'shape_needed');
    assert.match(await page.innerText('#shape-form label'), /image/);
    const first = page.url();
    await page.click('#shape-form button[type=submit]');
    assert.equal(page.url(), first, 'an empty field is not sent');
    await shot(page, 'shape-needed');
    await page.fill('#shape-form .shape-value', '1x3x32x32');
    await page.click('#shape-form button[type=submit]');
    await page.waitForFunction((u) => location.href !== u, first);
    await page.waitForSelector('#verdict');
    assert.match(await page.textContent('h1'), /open_shape/);
  });

  test('the shape can be given with the upload', async () => {
    const page = await page_new();
    await choose(page, models.open_shape());
    await page.click('summary');
    await page.click('text=Give the shape of an input');
    await page.fill('.shape-name', 'image');
    await page.fill('.shape-value', '1 x 3 × 48, 48');
    await page.click('#submit');
    await page.waitForSelector('#verdict');
    await page.click('#tab-nodes');
    assert.match(await page.innerText('.nodes tbody'), /1×3×48×48/);
  });

  test('a result that is not there says so', async () => {
    const page = await page_new({ path: '/#/jobs/01AAAAAAAAAAAAAAAAAAAAAAAA' });
    open.allowed.push(/404/);
    await page.waitForSelector('.problem');
    assert.equal(await page.innerText('[data-field=code]'), 'not_found');
  });

  test('a server that is away is told so', async () => {
    const page = await page_new();
    open.allowed.push(/ERR_|Failed to load/);
    await choose(page, models.legal('away'));
    await page.route('**/v1/**', (r) => r.abort());
    await page.click('#submit');
    await page.waitForSelector('.upload .problem');
    assert.equal(await page.innerText('.upload [data-field=code]'), 'network');
    await page.unroute('**/v1/**');
    await page.click('#submit');
    assert.equal(await verdict(page), 'legal');
  });
});

describe('past results', () => {
  async function post_jobs(names) {
    for (const name of names) {
      const file = models.legal(name);
      const model = await (await fetch(`${server.url}/v1/models?filename=${file.name}`, { method: 'POST', body: file.buffer, headers: { 'Content-Type': 'application/octet-stream' } })).json();
      const made = await fetch(`${server.url}/v1/jobs`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ model: model.id, kind: 'check', march: 'bayes', project: 'history' }) });
      assert.equal(made.status, 202);
    }
  }

  test('search, filters, pages, and the way back', async () => {
    await post_jobs([...Array.from({ length: 30 }, (_, i) => `series_${i}`), 'needle_in_hay']);
    const page = await page_new();
    await page.waitForSelector('.results tbody tr');
    const rows = page.locator('.results tbody tr');
    assert.equal(await rows.count(), 25);
    assert.match(await rows.first().innerText(), /needle_in_hay/, 'the newest comes first');
    await page.waitForFunction(() => !document.querySelector('.badge-busy'), null, { timeout: 20000 });
    await shot(page, 'home');

    await page.click('[data-page=older]');
    await page.waitForFunction(() => location.hash.includes('cursor='));
    await page.waitForFunction(() => !document.querySelector('.results tbody').innerText.includes('needle_in_hay'));
    await page.waitForSelector('[data-page=newest]');
    await page.goBack();
    await page.waitForFunction(() => document.querySelector('.results tbody').innerText.includes('needle_in_hay'));

    await page.fill('#r-q', 'needle');
    await page.waitForFunction(() => document.querySelectorAll('.results tbody tr').length === 1);
    assert.match(page.url(), /q=needle/);
    await page.click('.job-link');
    await verdict(page);
    await page.goBack();
    await page.waitForFunction(() => document.querySelectorAll('.results tbody tr').length === 1);
    assert.equal(await page.inputValue('#r-q'), 'needle');
    await page.reload();
    await page.waitForFunction(() => document.querySelectorAll('.results tbody tr').length === 1);
    await page.fill('#r-q', 'no such thing at all');
    await page.waitForSelector('text=Nothing matches');
    await page.fill('#r-q', '');
    await page.waitForFunction(() => document.querySelectorAll('.results tbody tr').length === 25);

    await page.selectOption('#r-verdict', 'illegal');
    await page.waitForFunction(() => location.hash.includes('verdict=illegal'));
    await page.waitForFunction(() => [...document.querySelectorAll('.results tbody tr')].every((r) => /Illegal/.test(r.innerText)));
    await page.selectOption('#r-verdict', '');
    await page.fill('#r-project', 'history');
    await page.waitForFunction(() => location.hash.includes('project=history'));
    await page.waitForFunction(() => {
      const r = [...document.querySelectorAll('.results tbody tr')];
      return r.length === 25 && r.every((x) => /history/.test(x.innerText));
    });
  });

  test('what is unfinished in the list is looked at again', async () => {
    await post_jobs(['will_finish']);
    const page = await page_new({ path: '/#/?q=will_finish' });
    let asked = 0;
    await page.route(/\/v1\/jobs\?/, async (r) => {
      asked += 1;
      if (asked > 1) return r.continue();
      const response = await r.fetch();
      const doc = await response.json();
      return r.fulfill({ response, json: { ...doc, items: doc.items.map((j) => ({ ...j, state: 'running', stage: 'check', verdict: null })) } });
    });
    await page.reload();
    await page.waitForSelector('.results .badge-busy:has-text("Running: check")');
    await page.waitForSelector('.results .badge-ok:has-text("Legal")');
  });

  test('a result that is deleted leaves the list', async () => {
    const page = await page_new();
    await check(page, models.legal('to_be_deleted'));
    await verdict(page);
    await page.click('button:has-text("Delete")');
    await page.click('button:has-text("Really delete?")');
    await page.waitForURL(/view=results/);
    await page.fill('#r-q', 'to_be_deleted');
    await page.waitForFunction(() => !document.querySelector('.results tbody').innerText.match(/to_be_deleted[\s\S]*\tcheck/));
  });
});

describe('screens', () => {
  for (const [what, options] of [['phone', { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 }],
    ['phone-dark', { viewport: { width: 360, height: 740 }, colorScheme: 'dark' }], ['dark', { colorScheme: 'dark' }], ['tablet', { viewport: { width: 820, height: 1100 } }]]) {
    test(`${what}: everything fits into the width`, async () => {
      const page = await page_new(options);
      await page.waitForSelector('input[name=march]');
      await page.waitForSelector('.results tbody tr');
      await no_overflow(page, 'home');
      await shot(page, `${what}-home`, { fullPage: true });
      await check(page, models.illegal(`a_rather_long_name_of_a_network_${'x'.repeat(60)}`));
      await verdict(page);
      await drawn(page);
      await no_overflow(page, 'result');
      await page.locator('.findings .node-link').first().click();
      await page.waitForSelector('.is-selected[data-node]');
      await no_overflow(page, 'result with a chosen node');
      await shot(page, `${what}-result`, { fullPage: what.startsWith('phone') });
      await page.click('#tab-nodes');
      await no_overflow(page, 'nodes');
      await page.click('#tab-files');
      await no_overflow(page, 'files');
      await page.goto(`${server.url}/#/`);
      await page.waitForSelector('#choose');
      await check(page, models.open_shape());
      await page.waitForSelector('#shape-form');
      await no_overflow(page, 'problem');
    });
  }

  test('texts have enough contrast in both themes', async () => {
    for (const colorScheme of ['light', 'dark']) {
      const page = await page_new({ colorScheme });
      await check(page, models.illegal());
      await verdict(page);
      await drawn(page);
      const poor = await page.evaluate(() => {
        const parse = (c) => (c.match(/[\d.]+/g) ?? []).map(Number);
        const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255, v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
          .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
        const ground = (el) => {
          for (; el; el = el.parentElement) {
            const c = parse(getComputedStyle(el).backgroundColor);
            if (c.length === 3 || c[3] === 1) return c;
          }
          return [255, 255, 255];
        };
        const bad = [];
        for (const el of document.querySelectorAll('body *:not(svg *)')) {
          if (![...el.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !el.getClientRects().length || el.disabled) continue;
          const [a, b] = [light(parse(getComputedStyle(el).color)), light(ground(el))].sort((p, q) => q - p);
          if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(`${el.tagName}.${el.className} ${((a + 0.05) / (b + 0.05)).toFixed(2)} "${el.textContent.slice(0, 30)}"`);
        }
        return bad;
      });
      assert.deepEqual(poor, [], colorScheme);
      if (colorScheme === 'light') { await open.close(); open = null; }
    }
  });
});
