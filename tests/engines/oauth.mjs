// An OAuth 2 server (oidc-provider, certified) on loopback, whose users sign in with any name and
// password: what the sign-in is tried against. Prints its port once it listens; ends with its input.
//
// Clients: "google-like" with a secret, "microsoft-like" without one and with device codes, "dovecot" to ask
// whose a token is, and "application", known by a key (OAUTH_KEY, a JWK) instead of a secret.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const { OAUTH_KEY, OAUTH_LIFE = '3600' } = process.env;
const GOOGLE = 'https://mail.google.com/';
const MICROSOFT = 'https://outlook.office.com/IMAP.AccessAsUser.All';
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';

const clients = [
  {
    client_id: 'google-like',
    client_secret: 'google-like-secret-canary',
    application_type: 'native', // a loopback redirect may have any port (RFC 8252 section 7.3)
    redirect_uris: ['http://127.0.0.1/callback'],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'client_secret_post',
  },
  {
    client_id: 'microsoft-like',
    application_type: 'native',
    redirect_uris: ['http://localhost/callback'],
    grant_types: ['authorization_code', 'refresh_token', DEVICE],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  },
  {
    client_id: 'dovecot',
    client_secret: 'dovecot-secret',
    redirect_uris: [],
    response_types: [],
    grant_types: [],
    token_endpoint_auth_method: 'client_secret_basic',
  },
];
if (OAUTH_KEY) {
  clients.push({
    client_id: 'application',
    redirect_uris: [],
    response_types: [],
    grant_types: ['client_credentials'],
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'PS256',
    jwks: { keys: [JSON.parse(OAUTH_KEY)] },
    scope: 'mail',
  });
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address();
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients,
    scopes: ['openid', 'offline_access', GOOGLE, MICROSOFT, 'mail'],
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
    cookies: { keys: ['tests'] },
    pkce: { required: () => true },
    // Google gives one for access_type=offline, which is no part of OAuth; Microsoft for offline_access.
    issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: ({ oidc }) => oidc.client.clientId === 'microsoft-like',
    ttl: { AccessToken: Number(OAUTH_LIFE), ClientCredentials: 600, RefreshToken: 86400, Grant: 86400,
      Session: 3600, Interaction: 600, DeviceCode: 300 },
    features: {
      devInteractions: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (_, client) => client.clientId === 'dovecot' },
      revocation: { enabled: true },
      deviceFlow: { enabled: true },
      clientCredentials: { enabled: true },
      userinfo: { enabled: false },
    },
  });
  // Its pages for tests let nobody choose whom to be: who would choose has to sign in.
  provider.use((ctx, next) => {
    if (ctx.query.prompt === 'select_account') ctx.query = { ...ctx.query, prompt: 'login consent' };
    return next();
  });
  server.on('request', provider.callback());
  console.log(JSON.stringify({ port }));
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
