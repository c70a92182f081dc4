// What a Node program does with key/values, a database and transit.
const assert = require('node:assert/strict');

const connect = (token) => require('node-vault')({ endpoint: process.env.ADDR, token });

async function refused(call, status) {
  try {
    await call;
  } catch (e) {
    assert.equal(e.response && e.response.statusCode, status, e);
    return e;
  }
  assert.fail('not refused');
}

async function main() {
  const root = connect(process.env.TOKEN);
  assert.equal((await root.health()).sealed, false);

  await root.write('old/app', { value: 'v', ttl: '90s' });
  const plain = await root.read('old/app');
  assert.equal(plain.data.value, 'v');
  assert.equal(plain.lease_duration, 90);
  assert.deepEqual((await root.list('old')).data.keys, ['app']);
  await root.delete('old/app');
  await refused(root.read('old/app'), 404);

  const first = await root.write('secret/data/team/app', { data: { a: '1' }, options: { cas: 0 } });
  assert.equal(first.data.version, 1);
  await refused(root.write('secret/data/team/app', { data: { a: 'x' }, options: { cas: 0 } }), 400);
  await root.update('secret/data/team/app', { data: { b: '2' } });
  assert.deepEqual((await root.read('secret/data/team/app')).data.data, { a: '1', b: '2' });
  assert.deepEqual((await root.read('secret/data/team/app?version=1')).data.data, { a: '1' });
  await root.delete('secret/data/team/app');
  await refused(root.read('secret/data/team/app'), 404);
  await root.write('secret/undelete/team/app', { versions: [2] });
  await root.write('secret/destroy/team/app', { versions: [1] });
  assert.equal((await root.read('secret/metadata/team/app')).data.versions['1'].destroyed, true);
  assert.deepEqual((await root.list('secret/metadata')).data.keys, ['team/']);

  const text = Buffer.from('the words').toString('base64');
  await root.write('transit/keys/data', {});
  const { ciphertext } = (await root.write('transit/encrypt/data', { plaintext: text })).data;
  assert.equal((await root.write('transit/decrypt/data', { ciphertext })).data.plaintext, text);

  await root.addPolicy({ name: 'reader', rules: 'path "secret/data/team/*" { capabilities = ["read"] }' });
  const made = await root.tokenCreate({ policies: ['reader'], ttl: '10m' });
  const reader = connect(made.auth.client_token);
  assert.equal((await reader.read('secret/data/team/app')).data.data.b, '2');
  await refused(reader.write('secret/data/team/app', { data: {} }), 403);
  await refused(reader.read('secret/metadata/team/app'), 403);
  await reader.tokenRenewSelf();
  await reader.tokenRevokeSelf();
  await refused(reader.read('secret/data/team/app'), 403);
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
